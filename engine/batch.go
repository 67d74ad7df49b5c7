package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sonde/compute"
	"sonde/model"
)

// errBroken is what the others get when a pass that they shared ended in a panic.
var errBroken = errors.New("the model failed in a pass that several texts shared; this is a bug in this program, please report it")

// grace is how long a pass waits for a member whose reader has its text in hand.
const grace = time.Millisecond

// batch brings the sequences under way together. Each is a member, which is thinking
// (it has logits and will soon ask for more), away (its reader has text in hand, and
// may take its time), or waiting for a pass of the model. As soon as nobody thinks, one
// of the waiting is told to lead: it runs the model once for all that wait, hands out
// the results, and the next pass finds its own leader. So no goroutine is kept, and a
// panic of the model reaches a caller.
type batch struct {
	mu       sync.Mutex
	waiting  []*member // in the order of admission
	thinking int
	away     int
	round    int           // of settling; who went away in an earlier round is not waited for
	leading  bool          // a leader was chosen and has not finished
	settled  chan struct{} // the leader's, while it waits for those away
}

// member is one sequence in the batch.
type member struct {
	b      *batch
	order  uint64         // of admission
	seq    model.Sequence // nil before the first pass
	maxLen int
	ids    []int32 // not read yet
	want   model.Want
	logits []float32
	err    error
	round  int  // the batch's when it went away
	gone   bool // its caller has left
	state  state
	done   chan struct{} // the request is answered
	lead   chan struct{} // run the next pass
}

type state uint8

const (
	thinking state = iota
	away
	waiting
	running // in the pass under way; waiting too
)

// join adds a member to the batch, thinking; its sequence will hold maxLen tokens at
// most.
func (b *batch) join(order uint64, maxLen int) *member {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.thinking++
	return &member{b: b, order: order, maxLen: maxLen, done: make(chan struct{}, 1), lead: make(chan struct{}, 1)}
}

// leave takes a member out that is not waiting.
func (m *member) leave() {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	m.stand(waiting) // counted nowhere
	m.b.elect()
}

// stand changes a member's state and the batch's counts.
func (m *member) stand(s state) {
	b := m.b
	switch {
	case m.state == thinking:
		b.thinking--
	case m.state == away && m.round == b.round:
		b.away--
	}
	m.state = s
	switch s {
	case thinking:
		b.thinking++
	case away:
		b.away++
		m.round = b.round
	}
	if b.settled != nil && b.away == 0 && b.thinking == 0 {
		close(b.settled)
		b.settled = nil
	}
}

// aside runs f, which may take its time, without the batch waiting for it.
func (m *member) aside(f func() error) error {
	m.to(away)
	defer m.to(thinking)
	return f()
}

func (m *member) to(s state) {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	m.stand(s)
	m.b.elect()
}

// elect chooses a leader where a pass can begin. The lock is held.
func (b *batch) elect() {
	if b.leading || b.thinking > 0 || len(b.waiting) == 0 {
		return
	}
	b.leading = true
	b.waiting[0].lead <- struct{}{}
}

// ask queues a request.
func (m *member) ask(ids []int32, w model.Want) {
	b := m.b
	b.mu.Lock()
	defer b.mu.Unlock()
	m.ids, m.want, m.logits, m.err = ids, w, m.logits[:0], nil
	m.stand(waiting)
	at, _ := slices.BinarySearchFunc(b.waiting, m.order, func(o *member, order uint64) int { return int(int64(o.order - order)) })
	b.waiting = slices.Insert(b.waiting, at, m)
	b.elect()
}

// withdraw takes back a request, unless it is in the pass under way: then the pass ends
// it, and withdraw returns false.
func (m *member) withdraw() bool {
	b := m.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.state == running {
		m.gone = true
		return false
	}
	if m.state == waiting {
		b.drop(m)
		select {
		case <-m.lead: // chosen, but not at work yet
			b.leading = false
		default:
		}
		b.elect()
	}
	return true
}

// drop takes a member off the waiting list; it thinks then.
func (b *batch) drop(m *member) {
	i := slices.Index(b.waiting, m)
	b.waiting = slices.Delete(b.waiting, i, i+1)
	m.stand(thinking)
}

// forward appends ids to the member's sequence, in a pass with whoever else waits, and
// returns the logits, valid until the next call. A done ctx ends it between two passes.
func (e *Engine) forward(ctx context.Context, m *member, ids []int32, w model.Want) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.ask(ids, w)
	for {
		select {
		case <-m.done:
			return m.logits, m.err
		case <-m.lead:
			e.pass(ctx)
		case <-ctx.Done():
			if !m.withdraw() {
				<-m.done
			}
			return nil, ctx.Err()
		}
	}
}

// pass runs the model once for all that wait. The caller was chosen to lead.
func (e *Engine) pass(ctx context.Context) {
	b := &e.batch
	b.settle(ctx)
	if e.permit(ctx) != nil {
		b.mu.Lock()
		b.leading = false // the caller withdraws next, and that finds another leader
		b.mu.Unlock()
		return
	}
	shares := b.pick(e.lim.Piece)
	err := errBroken
	defer func() {
		<-e.turn
		b.deliver(shares, err)
	}()
	e.run(shares)
	err = nil
}

// settle waits a little for those who are away.
func (b *batch) settle(ctx context.Context) {
	b.mu.Lock()
	c := make(chan struct{})
	if b.away+b.thinking == 0 {
		b.mu.Unlock()
		return
	}
	b.settled = c
	b.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.settled != nil {
		b.settled, b.away = nil, 0
		b.round++
	}
}

// share is a member's part of a pass.
type share struct {
	m    *member
	n    int // of the member's ids
	part [1]model.Part
	err  error
}

// pick takes from every member that waits its next token, or a piece of its prompt: the
// prompts share piece tokens evenly.
func (b *batch) pick(piece int) []share {
	b.mu.Lock()
	defer b.mu.Unlock()
	shares, need := make([]share, len(b.waiting)), make([]int, len(b.waiting))
	for i, m := range b.waiting {
		m.state = running
		need[i] = len(m.ids)
	}
	for i, n := range divide(need, piece) {
		m := b.waiting[i]
		shares[i] = share{m: m, n: n}
		p := model.Part{IDs: m.ids[:n], Want: m.want}
		if m.want == model.WantLast {
			if n < len(m.ids) {
				p.Want = model.WantNone
			}
			p.Logits = m.logits
		}
		shares[i].part[0] = p
	}
	return shares
}

// divide gives each what it needs as long as there is enough, and otherwise equal
// parts: no one gets less than another who gets less than its need. Each gets 1 at
// least, and needs of 1 are not counted.
func divide(need []int, most int) []int {
	order := make([]int, 0, len(need))
	out := make([]int, len(need))
	for i, n := range need {
		if n > 1 {
			order = append(order, i)
		}
		out[i] = n
	}
	slices.SortStableFunc(order, func(a, b int) int { return need[a] - need[b] })
	for k, i := range order {
		out[i] = max(1, min(need[i], most/(len(order)-k)))
		most -= out[i]
	}
	return out
}

// run is one pass. Where it fails for several together each is tried alone, so that
// one that finds no memory does not end the others.
func (e *Engine) run(shares []share) {
	var parts []model.Part
	var of []*share
	for i := range shares {
		s := &shares[i]
		if s.err = e.begin(s.m); s.err == nil {
			s.part[0].Sequence = s.m.seq
			parts, of = append(parts, s.part[0]), append(of, s)
		}
	}
	if parts == nil {
		return
	}
	err := e.try(parts)
	for i, s := range of {
		s.part[0] = parts[i]
		if s.err = err; err != nil && len(of) > 1 {
			s.err = e.try(s.part[:])
		}
	}
}

// begin makes a member's sequence, if it has none.
func (e *Engine) begin(m *member) (err error) {
	defer compute.CatchOutOfMemory(&err)
	if m.seq == nil {
		m.seq = e.model.NewSequence(m.maxLen)
	}
	return nil
}

// try is a pass whose lack of memory is an error.
func (e *Engine) try(parts []model.Part) (err error) {
	defer compute.CatchOutOfMemory(&err)
	return e.model.Forward(parts)
}

// deliver hands out the results of a pass, or the failure that ended it.
func (b *batch) deliver(shares []share, failure error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range shares {
		shares[i].answer(failure)
	}
	b.leading = false
	b.elect()
}

// answer notes what a pass brought its member and wakes it, if that was all it asked.
func (s *share) answer(failure error) {
	m := s.m
	m.state = waiting
	if m.err = failure; failure == nil {
		m.err = s.err
	}
	if m.err == nil {
		m.ids = m.ids[s.n:]
		switch p := &s.part[0]; p.Want {
		case model.WantLast:
			m.logits = p.Logits
		case model.WantAll:
			m.logits = append(m.logits, p.Logits...)
		}
	}
	if m.err != nil || m.gone || len(m.ids) == 0 {
		m.b.drop(m)
		m.done <- struct{}{}
	}
}
