package plan

import "sonde/model/deepseek"

// part is a kind of weight: count matrices of rows x cols in the whole model, of
// which a token meets active. Matrices that DeepSeek keeps in FP8 have scales of
// their own, one float32 for each block of 128 x 128 or a part of one.
type part struct {
	group         string
	rows, cols    int
	count, active int
	fp8           bool
}

const (
	embedding = "embedding"
	head      = "head"
	attention = "attention"
	dense     = "dense feed-forward"
	experts   = "routed experts"
	shared    = "shared experts"
	router    = "router"
	norms     = "norms"
	joining   = "MTP projection"
)

// groups is the order of Breakdown.
var groups = []string{embedding, attention, dense, experts, shared, router, norms, joining, head}

func (p part) each() int64   { return int64(p.rows) * int64(p.cols) }
func (p part) params() int64 { return p.each() * int64(p.count) }

// fp8Bytes is the part's size in a checkpoint of DeepSeek's FP8 kind: what is not
// FP8 is bfloat16.
func (p part) fp8Bytes() int64 {
	if !p.fp8 {
		return 2 * p.params()
	}
	blocks := int64((p.rows+127)/128) * int64((p.cols+127)/128)
	return p.params() + 4*blocks*int64(p.count)
}

// mainParts are the weights of the model without its MTP modules.
func mainParts(c *deepseek.Config) []part {
	d := c.HiddenSize
	ps := []part{{embedding, c.VocabSize, d, 1, 0, false}, {head, c.VocabSize, d, 1, 1, false}, {norms, 1, d, 1, 1, false}}
	ps = append(ps, attentionParts(c, c.NumHiddenLayers)...)
	ps = append(ps, feedForward(dense, d, c.IntermediateSize, c.FirstKDenseReplace, c.FirstKDenseReplace)...)
	return append(ps, expertParts(c, c.NumHiddenLayers-c.FirstKDenseReplace)...)
}

// mtpParts are the weights that the MTP modules add; embedding and head are the main
// model's.
func mtpParts(c *deepseek.Config) []part {
	n, d := c.NumNextnPredict, c.HiddenSize
	ps := []part{{joining, d, 2 * d, n, n, false}, {norms, 1, d, 3 * n, 3 * n, false}}
	return append(append(ps, attentionParts(c, n)...), expertParts(c, n)...)
}

func attentionParts(c *deepseek.Config, layers int) []part {
	d, h := c.HiddenSize, c.NumAttentionHeads
	qk := c.QKNopeHeadDim + c.QKRopeHeadDim
	add := func(rows, cols int) part { return part{attention, rows, cols, layers, layers, true} }
	ps := []part{
		{norms, 1, d, 2 * layers, 2 * layers, false}, {norms, 1, c.KVLoraRank, layers, layers, false},
		add(c.KVLoraRank+c.QKRopeHeadDim, d), add(h*(c.QKNopeHeadDim+c.VHeadDim), c.KVLoraRank), add(d, h*c.VHeadDim),
	}
	if c.QLoraRank == 0 {
		return append(ps, add(h*qk, d))
	}
	return append(ps, add(c.QLoraRank, d), add(h*qk, c.QLoraRank), part{norms, 1, c.QLoraRank, layers, layers, false})
}

// feedForward is gate, up and down of count blocks.
func feedForward(group string, d, width, count, active int) []part {
	return []part{{group, width, d, 2 * count, 2 * active, true}, {group, d, width, count, active, true}}
}

func expertParts(c *deepseek.Config, layers int) []part {
	e := c.NRoutedExperts
	ps := []part{{router, e, c.HiddenSize + 1, layers, layers, false}} // the bias beside it
	ps = append(ps, feedForward(experts, c.HiddenSize, c.MoEIntermediateSize, layers*e, layers*c.NumExpertsPerTok)...)
	if c.NSharedExperts == 0 {
		return ps
	}
	return append(ps, feedForward(shared, c.HiddenSize, c.MoEIntermediateSize*c.NSharedExperts, layers, layers)...)
}
