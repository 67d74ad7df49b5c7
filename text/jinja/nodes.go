package jinja

// node is a piece of a parsed template that writes.
type node interface{}

type (
	textNode struct{ s Str }
	outNode  struct {
		e    expr
		line int
	}
	ifNode struct {
		line        int
		cond        expr
		then, other []node
	}
	forNode struct {
		line        int
		targets     []string
		iter, where expr
		body, other []node
	}
	setNode struct {
		line    int
		targets []string // names, or one namespace and its attribute
		attr    string
		value   expr   // nil: the body's text
		filters []call // of the body
		body    []node
	}
	macroNode struct {
		line     int
		name     string
		params   []string
		defaults []expr // of the last parameters
		body     []node
	}
	callNode struct { // {% call f() %}body{% endcall %}
		line   int
		call   expr
		params []string
		body   []node
	}
	filterNode struct {
		line    int
		filters []call
		body    []node
	}
	withNode struct {
		line   int
		names  []string
		values []expr
		body   []node
	}
	jumpNode struct{ stop bool } // break or continue
)

// expr is an expression.
type expr interface{}

type (
	constExpr struct{ v any }
	nameExpr  struct {
		name string
		line int
	}
	listExpr struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, values []expr }
	attrExpr struct {
		of   expr
		name string
		line int
	}
	itemExpr struct {
		of, key expr
		line    int
	}
	sliceExpr struct {
		of             expr
		from, to, step expr
		line           int
	}
	callExpr struct {
		f expr
		call
	}
	filterExpr struct {
		of expr
		call
	}
	testExpr struct {
		of  expr
		not bool
		call
	}
	unaryExpr struct {
		op   string
		e    expr
		line int
	}
	binaryExpr struct {
		op   string
		l, r expr
		line int
	}
	condExpr struct{ cond, then, other expr } // other nil: undefined
)

// call is a name with arguments.
type call struct {
	name   string
	args   []expr
	names  []string // of the keyword arguments
	kwargs []expr
	line   int
}
