package jinja

import (
	"maps"
	"slices"
)

// Render runs the template on values: nil, bool, string, Literal, int, float64 and what
// ParseJSON reads. raise_exception, range, namespace, dict and strftime_now are there
// beside them; the last needs a "strftime_now" function among the funcs.
func (t *Template) Render(values map[string]any, funcs map[string]func(string) string, lim Limits) (out []Piece, err error) {
	defer caught(&err)
	x := &exec{steps: lim.Steps, most: lim.Output}
	if x.steps <= 0 {
		x.steps = defaultSteps
	}
	if x.most <= 0 {
		x.most = defaultOutput
	}
	top := &scope{names: maps.Clone(globals)}
	for name, f := range funcs {
		top.names[name] = function(func(x *exec, a args) any {
			s := x.str(a.need(0, ""), a.line)
			return like(s, f(s.s))
		})
	}
	for name, v := range values {
		top.names[name] = value(v)
	}
	x.scope = &scope{names: map[string]any{}, up: top}
	x.run(t.body)
	return x.out.str().pieces(), nil
}

// exec is a rendering in progress.
type exec struct {
	scope *scope
	out   *buildOut
	steps int
	most  int
	depth int // macros in use
}

// scope is a set of names that a block sees; assignments go to the innermost.
type scope struct {
	names map[string]any
	up    *scope
}

// step counts work: one step and one more for every 64 bytes.
func (x *exec) step(line, bytes int) {
	x.steps -= 1 + bytes/64
	if x.steps < 0 {
		fail(line, "it takes too many steps")
	}
	if bytes > x.most {
		fail(line, "a text grows beyond %d bytes", x.most)
	}
}

func (x *exec) look(name string) (any, bool) {
	for s := x.scope; s != nil; s = s.up {
		if v, ok := s.names[name]; ok {
			return v, true
		}
	}
	return undefined{name}, false
}

// within runs f in a scope of its own.
func (x *exec) within(f func()) {
	x.scope = &scope{names: map[string]any{}, up: x.scope}
	f()
	x.scope = x.scope.up
}

// jump is how a body ended.
type jump uint8

const (
	goesOn jump = iota
	breaks
	continues
)

func (x *exec) run(body []node) jump {
	for _, n := range body {
		if j := x.node(n); j != goesOn {
			return j
		}
	}
	return goesOn
}

func (x *exec) node(n node) jump {
	x.step(0, 0)
	switch n := n.(type) {
	case textNode:
		x.write(n.s, 0)
	case outNode:
		x.write(text(x.eval(n.e)), n.line)
	case ifNode:
		if truth(x.eval(n.cond)) {
			return x.run(n.then)
		}
		return x.run(n.other)
	case forNode:
		x.loop(n)
	case setNode:
		x.set(n)
	case macroNode:
		x.scope.names[n.name] = &macro{name: n.name, params: n.params, defaults: n.defaults, body: n.body, scope: x.scope}
	case callNode:
		caller := &macro{name: "caller", params: n.params, body: n.body, scope: x.scope}
		x.within(func() {
			x.scope.names["caller"] = caller
			x.write(text(x.eval(n.call)), n.line)
		})
	case filterNode:
		x.write(text(x.filters(x.captured(n.body), n.filters)), n.line)
	case withNode:
		j := goesOn
		var vals []any
		for _, e := range n.values {
			vals = append(vals, x.eval(e))
		}
		x.within(func() {
			for i, name := range n.names {
				x.scope.names[name] = vals[i]
			}
			j = x.run(n.body)
		})
		return j
	case jumpNode:
		if n.stop {
			return breaks
		}
		return continues
	}
	return goesOn
}

// buildOut is a text under construction.
type buildOut struct{ build }

func (x *exec) write(s Str, line int) {
	if x.out == nil {
		x.out = &buildOut{}
	}
	x.step(line, len(s.s))
	if x.out.Len()+len(s.s) > x.most {
		fail(line, "the result grows beyond %d bytes", x.most)
	}
	x.out.add(s)
}

func (b *buildOut) str() Str {
	if b == nil {
		return Str{}
	}
	return b.build.str()
}

// captured is what a body writes.
func (x *exec) captured(body []node) Str {
	before := x.out
	x.out = &buildOut{}
	x.within(func() { x.run(body) })
	s := x.out.str()
	x.out = before
	return s
}

func (x *exec) set(n setNode) {
	var v any
	if n.value != nil {
		v = x.eval(n.value)
	} else {
		v = x.filters(x.captured(n.body), n.filters)
	}
	if n.attr != "" {
		of, _ := x.look(n.targets[0])
		ns, ok := of.(*namespace)
		if !ok {
			fail(n.line, "%s.%s is set, but only a namespace's attributes can be", n.targets[0], n.attr)
		}
		ns.set(n.line, literal(n.attr), v)
		return
	}
	x.bind(n.targets, v, n.line)
}

// bind gives names to a value, or to the items of one.
func (x *exec) bind(names []string, v any, line int) {
	if len(names) == 1 {
		x.scope.names[names[0]] = v
		return
	}
	vals := items(v, line)
	if len(vals) != len(names) {
		fail(line, "%d names are given to %d values", len(names), len(vals))
	}
	for i, name := range names {
		x.scope.names[name] = vals[i]
	}
}

// loop is the variable of that name.
type loop struct {
	items   []any
	i       int
	changed any
}

func (x *exec) loop(n forNode) {
	vals := items(x.eval(n.iter), n.line)
	if n.where != nil {
		var kept []any
		for _, v := range vals {
			x.step(n.line, 0)
			x.within(func() {
				x.bind(n.targets, v, n.line)
				if truth(x.eval(n.where)) {
					kept = append(kept, v)
				}
			})
		}
		vals = kept
	}
	if len(vals) == 0 {
		x.within(func() { x.run(n.other) })
		return
	}
	l := &loop{items: slices.Clone(vals), changed: undefined{}}
	for i, v := range l.items {
		x.step(n.line, 0)
		l.i = i
		j := goesOn
		x.within(func() {
			x.scope.names["loop"] = l
			x.bind(n.targets, v, n.line)
			j = x.run(n.body)
		})
		if j == breaks {
			return
		}
	}
}

func (l *loop) attr(name string) any {
	n := int64(len(l.items))
	i := int64(l.i)
	switch name {
	case "index":
		return i + 1
	case "index0":
		return i
	case "revindex":
		return n - i
	case "revindex0":
		return n - i - 1
	case "first":
		return i == 0
	case "last":
		return i == n-1
	case "length":
		return n
	case "depth": // only recursive loops go deeper
		return int64(1)
	case "depth0":
		return int64(0)
	case "previtem":
		if i > 0 {
			return l.items[i-1]
		}
	case "nextitem":
		if i+1 < n {
			return l.items[i+1]
		}
	case "cycle":
		return function(func(_ *exec, a args) any {
			if len(a.pos) == 0 {
				fail(a.line, "loop.cycle needs items")
			}
			return a.pos[l.i%len(a.pos)]
		})
	case "changed":
		return function(func(_ *exec, a args) any {
			now := &list{items: a.pos}
			same := equal(l.changed, now, 0)
			l.changed = now
			return !same
		})
	}
	return undefined{"loop." + name}
}

// macro is a piece of a template with parameters.
type macro struct {
	name     string
	params   []string
	defaults []expr
	body     []node
	scope    *scope
}

func (x *exec) call(m *macro, a args) any {
	if x.depth++; x.depth > maxNesting {
		fail(a.line, "macros call each other deeper than %d", maxNesting)
	}
	outer := x.scope
	x.scope = &scope{names: map[string]any{}, up: m.scope}
	if len(a.pos) > len(m.params) {
		fail(a.line, "the macro %s takes %d arguments, not %d", m.name, len(m.params), len(a.pos))
	}
	for i, name := range m.params {
		if v, ok := a.get(i, name); ok {
			x.scope.names[name] = v
		} else if d := i - (len(m.params) - len(m.defaults)); d >= 0 {
			x.scope.names[name] = x.eval(m.defaults[d])
		} else {
			x.scope.names[name] = undefined{name}
		}
	}
	if v, ok := a.named["caller"]; ok {
		x.scope.names["caller"] = v
	} else if caller, ok := lookFrom(outer, "caller"); ok {
		x.scope.names["caller"] = caller
	}
	s := x.captured(m.body)
	x.scope = outer
	x.depth--
	return s
}

func lookFrom(s *scope, name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.names[name]; ok {
			return v, true
		}
	}
	return nil, false
}
