package jinja

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// values are what the cases of testdata/jinja2.json were rendered with.
const values = `{"s":"Hello <b> wörld","n":7,"f":2.5,"none":null,"t":true,"l":[3,1,2],"d":{"b":1,"a":[1,{"x":"é"}]},
"ms":[{"role":"user","content":" hi\n"},{"role":"assistant","content":"<think>x</think>y"}],"e":"","big":123456789012345678901234567890}`

func render(t *testing.T, source string, lim Limits) (string, []Piece, error) {
	t.Helper()
	v, err := ParseJSON([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := Parse(source)
	if err != nil {
		return "", nil, err
	}
	pieces, err := tpl.Render(v.(*Object).Values, nil, lim)
	out := ""
	for _, p := range pieces {
		out += p.Text
	}
	return out, pieces, err
}

// TestAgainstJinja2 compares with what Jinja2 3.1 gives, set up as transformers does,
// refusals included.
func TestAgainstJinja2(t *testing.T) {
	raw, err := os.ReadFile("testdata/jinja2.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Template, Out, Error string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		got, _, err := render(t, c.Template, Limits{})
		if (err != nil) != (c.Error != "") || err == nil && got != c.Out {
			t.Errorf("%q\n got %q, %v\nwant %q, %v", c.Template, got, err, c.Out, c.Error)
		}
	}
}

// TestOrigin checks that text keeps its origin through what templates do with it.
func TestOrigin(t *testing.T) {
	for source, want := range map[string]string{
		`<a>{{ s }}<b>`: `t<a>|dHello <b> wörld|t<b>`,
		`{{ '<a>' + ms[0].content|trim + '<b>' }}`:                 `t<a>|dhi|t<b>`,
		`{{ ms[1].content.split('</think>')[-1] }}`:                `dy`,
		`{{ 'x' ~ s[0:1] ~ 'y' }}`:                                 `tx|dH|ty`,
		`{{ s.replace('Hello', '<t>') }}`:                          `t<t>|d <b> wörld`,
		`{{ ['a', s, 'b'] | join('-') }}`:                          `ta-|dHello <b> wörld|t-b`,
		`{{ d | tojson }}`:                                         `d{"b": 1, "a": [1, {"x": "é"}]}`,
		`{% set x %}<{{ e or n }}{{ s }}{% endset %}{{ x|upper }}`: `d<7HELLO <B> WÖRLD`,
		`{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(s[:1]) }}`:    `t[|dH|t]`,
	} {
		_, pieces, err := render(t, source, Limits{})
		var got []string
		for _, p := range pieces {
			got = append(got, map[bool]string{false: "t", true: "d"}[p.Data]+p.Text)
		}
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%s: got %q, %v, want %q", source, strings.Join(got, "|"), err, want)
		}
	}
}

// TestT9HostileTemplates: every one ends with an error, soon and in little memory.
func TestT9HostileTemplates(t *testing.T) {
	for name, c := range map[string]struct{ source, want string }{
		"endless recursion":    {`{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`, "deeper"},
		"mutual recursion":     {`{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}`, ""},
		"nested loops":         {strings.Repeat(`{% for i in range(99999) %}`, 20) + strings.Repeat(`{% endfor %}`, 20), "steps"},
		"a huge range":         {`{{ range(1000000000)|list }}`, "range"},
		"a long text":          {`{{ 'a' * 10000000000 }}`, "bytes"},
		"doubling":             {`{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`, "bytes"},
		"doubling a list":      {`{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}`, ""},
		"growth by replace":    {`{% set a = 'a' * 1000000 %}{{ a.replace('a', a) }}`, "bytes"},
		"growth by join":       {`{% set a = 'a' * 1000000 %}{{ range(10000)|join(a) }}`, "bytes"},
		"growth by indent":     {`{% set a = '\na' * 100000 %}{{ a|indent(1000) }}`, ""},
		"output":               {`{% set a = 'a' * 1000000 %}{% for i in range(1000) %}{{ a }}{% endfor %}`, "result"},
		"a tower of powers":    {`{{ 9 ** 9 ** 9 }}`, "large"},
		"brackets":             {`{{ ` + strings.Repeat("(", 10000) + `1` + strings.Repeat(")", 10000) + ` }}`, "nests"},
		"minus signs":          {`{{ ` + strings.Repeat("- ", 10000) + `1 }}`, "nests"},
		"nots":                 {`{{ ` + strings.Repeat("not ", 10000) + `1 }}`, "nests"},
		"ifs":                  {strings.Repeat(`{% if t %}`, 10000) + strings.Repeat(`{% endif %}`, 10000), "nests"},
		"elifs":                {`{% if t %}` + strings.Repeat(`{% elif t %}`, 10000) + `{% endif %}`, "nests"},
		"filters":              {`{{ s` + strings.Repeat("|trim", 10000) + ` }}`, "filters"},
		"attributes":           {`{{ s` + strings.Repeat(".a", 10000) + ` }}`, "parts"},
		"sums":                 {`{{ 1` + strings.Repeat(" + 1", 100000) + ` }}`, "operators"},
		"a nest by namespaces": {`{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}`, "nests"},
		"a nest as JSON":       {`{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}`, "nests"},
		"python's objects":     {`{{ ''.__class__.__mro__[1].__subclasses__() }}`, "undefined"},
		"a file":               {`{% include '/etc/passwd' %}`, "include"},
		"an import":            {`{% from 'os' import system %}`, "from"},
		"its own environment":  {`{{ self._TemplateReference__context }}`, "undefined"},
		"division":             {`{{ 1 // 0 }}`, "zero"},
		"too long a source":    {strings.Repeat("a", maxSource+1), "bytes"},
	} {
		start := time.Now()
		_, _, err := render(t, c.source, Limits{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	raw, err := os.ReadFile("testdata/jinja2.json")
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct{ Template string }
	if err := json.Unmarshal(raw, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Template)
	}
	f.Fuzz(func(t *testing.T, source string) {
		start := time.Now()
		render(t, source, Limits{Steps: 20_000, Output: 1 << 16})
		if d := time.Since(start); d > 10*time.Second { // a busy machine stretches milliseconds
			t.Errorf("%q took %v", source, d)
		}
	})
}
