package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"sonde/compute"
	"sonde/model"
)

// Roll is one prompt of which many continuations are wanted: a group.
type Roll struct {
	Prompt  []int32
	Samples int
	Seed    uint64 // of the group; each sample has a stream of its own
}

// Rolled is one continuation.
type Rolled struct {
	Roll, Sample int     // which of the prompts, and which of its samples
	Tokens       []int32 // with the token that ended it, if one did
	Finish       Finish
	// LogProbs are the log-probabilities of Tokens, where they are asked for: at the
	// temperature that they were drawn at, over the whole vocabulary, or with KeepMask
	// over what could be drawn. They are those of model.Pass, to the last bit.
	LogProbs []float32
	Entropy  []float32 // of the distributions that LogProbs are from, in nats
	// Allowed are, with KeepMask, the ids that each token was drawn from, ascending; nil
	// for the whole vocabulary.
	Allowed [][]int32
	// Routes are, with KeepRoutes, for each layer of experts those of every token read,
	// the prompt's first: [(prompt + len(Tokens) - 1) * K].
	Routes [][]int32
}

// RollParams say how continuations are drawn. Of Params the stop strings are not heeded,
// and LogProbs asks for the tokens' own.
type RollParams struct {
	Params
	EOS                  int32 // ends a text unless IgnoreEOS; -1 for none
	Slots                int   // texts written at a time; default DefaultSlots
	Piece                int   // rows of prompts read in one pass; default 2048
	KeepMask, KeepRoutes bool
}

// DefaultSlots fill the rows of matrix products, those of experts too; with more the keys
// of small models leave the processor's cache.
const DefaultSlots = 256

// Roller writes many texts with the very weights that a trainer holds, all side by side:
// what is finished leaves, what waits comes in, and the prompt of a group is read once.
// What comes out depends on the weights, the prompts, the seeds and the parameters alone:
// neither on the slots, nor on threads, nor on what else is written. Its calls must not
// overlap.
type Roller struct {
	net     model.Learner
	ar      *compute.Arena
	free    []model.Forker
	logits  []float32
	threads int
}

// NewRoller makes one; nothing is allocated yet.
func NewRoller(net model.Learner) *Roller {
	return &Roller{net: net, ar: net.Backend().NewArena("the logits of rollouts"), threads: max(net.Backend().Threads(), 1)}
}

// Close gives back the memory.
func (r *Roller) Close() {
	for _, s := range r.free {
		s.Close()
	}
	r.free = nil
	r.ar.Free()
	r.net.Close()
}

// rolling is a call of Roll under way.
type rolling struct {
	*Roller
	p             RollParams
	rolls         []Roll
	done          func(*Rolled)
	next          int // of rolls
	bases         []*base
	texts         []*textUnderWay // each has its logits in the row of its place
	workers       []sampler
	logp, entropy []float32
	ids           []int32
}

// base is a prompt that was read, or is about to be.
type base struct {
	roll   int
	seq    model.Forker
	read   int       // tokens of the prompt
	logits []float32 // after the prompt
	given  int       // samples that have begun
	routes [][]int32
}

// textUnderWay is a sample being written.
type textUnderWay struct {
	out     *Rolled
	seq     model.Forker
	rng     *rand.Rand
	max     int // tokens at most
	err     error
	allowed []int32
}

// Roll writes all continuations and hands each to done as it is finished, from the
// calling goroutine. It ends between two passes when ctx is done.
func (r *Roller) Roll(ctx context.Context, rolls []Roll, p RollParams, done func(*Rolled)) (err error) {
	defer compute.CatchOutOfMemory(&err)
	if p.Slots <= 0 {
		p.Slots = DefaultSlots
	}
	if p.Piece <= 0 {
		p.Piece = 2048
	}
	if err := r.check(rolls, p); err != nil {
		return err
	}
	g := &rolling{Roller: r, p: p, rolls: rolls, done: done}
	for range r.threads {
		g.workers = append(g.workers, sampler{p: p.Params})
	}
	defer g.release()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.draw(); err != nil {
			return err
		}
		g.admit()
		if len(g.texts) == 0 && len(g.bases) == 0 {
			return nil
		}
		if err := g.pass(); err != nil {
			return err
		}
	}
}

func (r *Roller) check(rolls []Roll, p RollParams) error {
	if err := p.Validate(); err != nil {
		return err
	}
	context, vocab := r.net.Describe().Context(), r.net.Describe().Vocab()
	for i, x := range rolls {
		if len(x.Prompt) == 0 {
			return ErrEmpty
		}
		if len(x.Prompt) >= context {
			return fmt.Errorf("%w: prompt %d has %d tokens and the context holds %d, of which one is for the answer", ErrContext, i, len(x.Prompt), context)
		}
		for _, id := range x.Prompt {
			if id < 0 || int(id) >= vocab {
				return fmt.Errorf("%w: %d is outside the model's vocabulary of %d", ErrToken, id, vocab)
			}
		}
	}
	return nil
}

// room is how many tokens a roll's texts may have after their prompt.
func (g *rolling) room(roll int) int {
	n := g.net.Describe().Context() - len(g.rolls[roll].Prompt)
	if g.p.MaxTokens > 0 {
		n = min(n, g.p.MaxTokens)
	}
	return n
}

// sequence is an empty sequence of at least n tokens.
func (g *rolling) sequence(n int) model.Forker {
	if last := len(g.free) - 1; last >= 0 {
		s := g.free[last]
		g.free = g.free[:last]
		if s.Max() >= n {
			return s
		}
		s.Close()
	}
	return g.net.NewRollout(n).(model.Forker)
}

func (g *rolling) giveBack(s model.Forker) {
	s.Truncate(0)
	g.free = append(g.free, s)
}

// release takes back what an error left.
func (g *rolling) release() {
	for _, t := range g.texts {
		g.giveBack(t.seq)
	}
	for _, b := range g.bases {
		g.giveBack(b.seq)
	}
}

// longest is the room that any sequence of this call needs, so that all can be reused.
func (g *rolling) longest() int {
	n := 0
	for i, x := range g.rolls {
		n = max(n, len(x.Prompt)+g.room(i))
	}
	return n
}

// admit takes prompts in as long as there are slots for their samples.
func (g *rolling) admit() {
	slots, piece := g.p.Slots-len(g.texts), g.p.Piece
	for _, b := range g.bases {
		slots -= g.rolls[b.roll].Samples - b.given
	}
	for g.next < len(g.rolls) && slots > 0 && piece > 0 {
		x := g.rolls[g.next]
		if x.Samples > 0 {
			g.bases = append(g.bases, &base{roll: g.next, seq: g.sequence(g.longest())})
		}
		slots, piece = slots-x.Samples, piece-len(x.Prompt)
		g.next++
	}
}

// pass runs the model once: a token of each text under way, and prompts not read yet.
// Then the samples of prompts that were read begin, as far as there are slots.
func (g *rolling) pass() error {
	v := g.net.Describe().Vocab()
	parts := make([]model.Part, 0, len(g.texts)+len(g.bases))
	for i, t := range g.texts {
		last := len(t.out.Tokens)
		parts = append(parts, model.Part{Sequence: t.seq, IDs: t.out.Tokens[last-1 : last], Want: model.WantLast, WantRoutes: g.p.KeepRoutes, Logits: g.row(i, v)})
	}
	var unread []*base
	for _, b := range g.bases {
		if b.read == 0 {
			unread = append(unread, b)
			parts = append(parts, model.Part{Sequence: b.seq, IDs: g.rolls[b.roll].Prompt, Want: model.WantLast, WantRoutes: g.p.KeepRoutes})
		}
	}
	if len(parts) > 0 {
		if err := g.net.Forward(parts); err != nil {
			return err
		}
	}
	for i, t := range g.texts {
		for l, chosen := range parts[i].Routes {
			t.out.Routes[l] = append(t.out.Routes[l], chosen...)
		}
	}
	for i, b := range unread {
		p := &parts[len(g.texts)+i]
		b.read, b.logits, b.routes = len(p.IDs), p.Logits, p.Routes
	}
	g.begin(v)
	return nil
}

// row is the place of the logits of text i.
func (g *rolling) row(i, v int) []float32 {
	if len(g.logits) < (i+1)*v {
		g.logits = append(g.logits, make([]float32, (i+1)*v-len(g.logits))...)
	}
	return g.logits[i*v : i*v : (i+1)*v]
}

// begin starts samples of prompts that were read.
func (g *rolling) begin(v int) {
	kept := g.bases[:0]
	for _, b := range g.bases {
		x := g.rolls[b.roll]
		for ; b.given < x.Samples && len(g.texts) < g.p.Slots; b.given++ {
			t := &textUnderWay{out: &Rolled{Roll: b.roll, Sample: b.given}, max: g.room(b.roll),
				rng: rand.New(rand.NewPCG(mixSeed(g.p.Seed, x.Seed, uint64(b.given)), stream))}
			if b.given == x.Samples-1 {
				t.seq, b.seq = b.seq, nil // the last one goes on where the prompt lies
			} else {
				t.seq = g.sequence(g.longest())
				t.seq.Fork(b.seq, b.read)
			}
			for _, r := range b.routes {
				t.out.Routes = append(t.out.Routes, append([]int32(nil), r...))
			}
			copy(g.row(len(g.texts), v)[:v], b.logits)
			g.texts = append(g.texts, t)
		}
		if b.given < x.Samples {
			kept = append(kept, b)
		}
	}
	g.bases = kept
}

// mixSeed makes one seed of several (splitmix64's finaliser after each).
func mixSeed(parts ...uint64) uint64 {
	h := uint64(0)
	for _, p := range parts {
		h += p + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// draw chooses the next token of every text under way; those that are finished leave.
func (g *rolling) draw() error {
	n, v := len(g.texts), g.net.Describe().Vocab()
	if n == 0 {
		return nil
	}
	g.ids = append(g.ids[:0], make([]int32, n)...)
	g.eachText(func(s *sampler, i int) {
		t := g.texts[i]
		s.rng = t.rng
		g.ids[i], t.allowed, t.err = s.drawn(g.logits[i*v:(i+1)*v], g.p.KeepMask)
	})
	for _, t := range g.texts {
		if t.err != nil {
			return t.err
		}
	}
	if g.p.LogProbs {
		g.logProbs(n, v)
	}
	kept := g.texts[:0]
	for i, t := range g.texts {
		if g.accept(t, i) {
			g.giveBack(t.seq)
			g.done(t.out)
		} else {
			kept = append(kept, t)
		}
	}
	g.texts = kept
	return nil
}

// accept adds the token drawn for text i and says whether the text is finished.
func (g *rolling) accept(t *textUnderWay, i int) bool {
	o, id := t.out, g.ids[i]
	o.Tokens = append(o.Tokens, id)
	if g.p.LogProbs {
		o.LogProbs, o.Entropy = append(o.LogProbs, g.logp[i]), append(o.Entropy, g.entropy[i])
	}
	if g.p.KeepMask {
		o.Allowed = append(o.Allowed, t.allowed)
	}
	switch {
	case g.ends(id):
		o.Finish = FinishStop
	case len(o.Tokens) >= t.max:
		o.Finish = FinishLength
	}
	return o.Finish != ""
}

func (g *rolling) ends(id int32) bool {
	for _, s := range g.p.StopTokens {
		if s == id {
			return true
		}
	}
	return id == g.p.EOS && !g.p.IgnoreEOS
}

// eachText runs f for every text on all threads; what f writes is the text's own.
func (g *rolling) eachText(f func(s *sampler, i int)) {
	n := len(g.texts)
	var wg sync.WaitGroup
	for w := range min(g.threads, n) {
		from, to := w*n/min(g.threads, n), (w+1)*n/min(g.threads, n)
		work := func() {
			for i := from; i < to; i++ {
				f(&g.workers[w], i)
			}
		}
		if w == 0 {
			defer wg.Wait()
			defer work()
			continue
		}
		wg.Go(work)
	}
}

// logProbs finds the log-probability of each token drawn by the operation at the
// vocabulary that training uses.
func (g *rolling) logProbs(n, v int) {
	be := g.net.Backend()
	g.ar.Reset()
	a := compute.LogProbArgs{Logits: g.ar.F32(n, v), Targets: g.ar.I32(1, n), LogP: g.ar.F32(1, n), Entropy: g.ar.F32(1, n)}
	be.UploadF32(a.Logits, g.logits[:n*v])
	be.UploadI32(a.Targets, g.ids)
	if g.p.Temperature > 0 {
		a.InvTemp = 1 / float32(g.p.Temperature)
	}
	if g.p.KeepMask {
		allowed := make([][]int32, n)
		for i, t := range g.texts {
			allowed[i] = t.allowed
		}
		a.Allowed = model.IDSets(be, g.ar, allowed)
	}
	be.LogProb(a)
	g.logp, g.entropy = resized(g.logp, n), resized(g.entropy, n)
	be.DownloadF32(g.logp, a.LogP)
	be.DownloadF32(g.entropy, a.Entropy)
}

func resized(v []float32, n int) []float32 {
	if cap(v) < n {
		return make([]float32, n)
	}
	return v[:n]
}
