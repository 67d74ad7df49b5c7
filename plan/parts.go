package plan

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

// feedForward is gate, up and down of count blocks.
func feedForward(group string, d, width, count, active int) []part {
	return []part{{group, width, d, 2 * count, 2 * active, true}, {group, d, width, count, active, true}}
}
