package text

import (
	"errors"

	"sonde/text/jinja"
)

// header begins a turn of Llama 3.
func (r *rendering) header(role string) {
	r.control("<|start_header_id|>")
	r.text(role)
	r.control("<|end_header_id|>")
	r.text("\n\n")
}

func (r *rendering) eot() { r.control("<|eot_id|>") }

// renderLlama31 is Llama 3.1's: a system turn with dates always, functions in the first
// message of the user, one call at a time.
func renderLlama31(r *rendering) {
	r.control(r.cfg.BOS)
	rest := 0
	r.header("system")
	if r.tools != nil {
		r.text("Environment: ipython\n")
	}
	date, ok := r.kwargs["date_string"].(string)
	if !ok {
		date = "26 Jul 2024"
	}
	r.text("Cutting Knowledge Date: December 2023\nToday Date: " + date + "\n\n")
	if r.messages[0].Role == "system" {
		r.text(r.stripped(0))
		rest = 1
	}
	r.eot()
	if r.tools != nil {
		if rest == len(r.messages) {
			r.fail(errors.New("tools need a message of the user to stand in: add one, or leave out the tools"))
			return
		}
		r.llamaTools(rest)
		rest++
	}
	for i := rest; i < len(r.messages); i++ {
		r.llamaTurn(i)
	}
	if r.ask {
		r.header("assistant")
	}
}

func (r *rendering) llamaTools(first int) {
	r.header("user")
	r.text("Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n" +
		`Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.Do not use variables.` + "\n\n")
	for i := range r.tools {
		r.text(r.tool(i, 4) + "\n\n")
	}
	r.text(r.stripped(first))
	r.eot()
}

func (r *rendering) llamaTurn(i int) {
	m := &r.messages[i]
	switch {
	case m.ToolCalls != nil:
		if len(m.ToolCalls) != 1 {
			r.failAt(i, errors.New("it has several tool calls, and this model makes one at a time: send each call and its result as messages of their own"))
			return
		}
		r.header("assistant")
		r.text(`{"name": "` + m.ToolCalls[0].Name + `", "parameters": ` + r.arguments(i, 0, true) + "}")
	case m.Role == "tool":
		r.header("ipython")
		if m.NoContent {
			r.text("None")
		} else {
			r.text(jinja.Quote(m.Content))
		}
	default:
		r.header(m.Role)
		r.text(r.stripped(i))
	}
	r.eot()
}

// stripped is a message's content without the white space around it; Jinja's trim turns
// a missing one into a word.
func (r *rendering) stripped(i int) string {
	if r.messages[i].NoContent {
		return "None"
	}
	return jinja.Strip(r.messages[i].Content)
}
