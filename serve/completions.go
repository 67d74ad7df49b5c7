package serve

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"sonde/engine"
)

// completionRequest is the body of POST /v1/completions.
type completionRequest struct {
	sampling
	Prompt   promptList `json:"prompt"`
	Echo     bool       `json:"echo"`
	LogProbs *int       `json:"logprobs"`
}

var completionNames = names(samplingNames + "prompt echo logprobs")

// promptList is a string, a list of strings, a list of tokens, or a list of such lists.
type promptList struct {
	texts []string
	ids   [][]int32
}

// UnmarshalJSON takes the four forms.
func (l *promptList) UnmarshalJSON(raw []byte) error {
	var text string
	var ids []int32
	switch {
	case string(raw) == "null": // as if it were missing
	case json.Unmarshal(raw, &text) == nil:
		l.texts = []string{text}
	case json.Unmarshal(raw, &l.texts) == nil:
	case json.Unmarshal(raw, &ids) == nil:
		l.texts, l.ids = nil, [][]int32{ids}
	default:
		l.texts = nil
		if json.Unmarshal(raw, &l.ids) != nil {
			return invalid("prompt", "prompt must be a string, a list of strings, a list of token numbers or a list of such lists")
		}
	}
	return nil
}

// defaultMaxTokens is OpenAI's default length of a completion.
const defaultMaxTokens = 16

func (s *server) completionJob(q *completionRequest) (*job, error) {
	m, err := s.find(q.Model)
	if err != nil {
		return nil, err
	}
	j, err := newJob("cmpl-", m, &q.sampling)
	if err != nil {
		return nil, err
	}
	if q.MaxTokens == nil {
		j.params.MaxTokens = defaultMaxTokens
	}
	j.silent = q.MaxTokens != nil && *q.MaxTokens == 0
	if q.LogProbs != nil {
		j.params.LogProbs, j.params.TopLogProbs = true, *q.LogProbs
		if err := j.params.Validate(); err != nil {
			return nil, invalid("logprobs", "logprobs is %d; it must lie between 0 and %d", *q.LogProbs, engine.MaxTopLogProbs)
		}
	}
	if err := s.prompts(j, q.Prompt); err != nil {
		return nil, err
	}
	return j, j.check()
}

// prompts gives j what it is to continue.
func (s *server) prompts(j *job, list promptList) error {
	prompts := len(list.texts) + len(list.ids)
	switch n := prompts * j.n; {
	case n == 0:
		return invalid("prompt", "prompt is missing: give the text to continue")
	case n > maxChoices:
		return invalid("prompt", "%d prompts times n = %d make %d texts; at most %d are allowed in a request", prompts, j.n, n, maxChoices)
	}
	s.encoding(func() {
		for _, t := range list.texts {
			ids, begin := j.m.Prompt(t)
			j.prompts = append(j.prompts, prompt{ids, begin})
		}
	})
	for _, ids := range list.ids {
		j.prompts = append(j.prompts, prompt{ids: ids})
	}
	return nil
}

func (s *server) completions(w http.ResponseWriter, r *http.Request) {
	var q completionRequest
	body, err := readBody(w, r, s.maxBody)
	if err == nil {
		err = decodeBody(body, &q, completionNames)
	}
	var j *job
	if err == nil {
		j, err = s.completionJob(&q)
	}
	if err != nil {
		s.answerError(w, r, err)
		return
	}
	a := &completionAnswer{j: j, echo: q.Echo}
	scored := func(t *engine.Ticket, index int, p prompt) error { return a.begin(r, t, index, p) }
	if !q.Stream {
		if err := j.run(r.Context(), a, scored); err != nil {
			s.answerError(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, completionObject{a.head(), a.choices, &j.usage})
		return
	}
	a.events = newEvents(w)
	err = j.run(r.Context(), a, scored)
	if err == nil && q.wantsUsage() {
		err = a.events.send(completionObject{a.head(), []completionChoice{}, &j.usage})
	}
	if err != nil {
		s.logError(r, err)
	}
	a.events.end(err)
}

type completionObject struct {
	chatHead
	Choices []completionChoice `json:"choices"`
	Usage   *usage             `json:"usage,omitempty"`
}

type completionChoice struct {
	Index        int                 `json:"index"`
	Text         string              `json:"text"`
	LogProbs     *completionLogProbs `json:"logprobs"`
	FinishReason *engine.Finish      `json:"finish_reason"`
}

// completionLogProbs are four lists in step, as the older endpoint has them.
type completionLogProbs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogProbs []*float64           `json:"token_logprobs"`
	TopLogProbs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"` // in characters
}

// completionAnswer collects or streams the choices of a completion.
type completionAnswer struct {
	j       *job
	echo    bool
	events  *events // nil: collect
	choices []completionChoice
	text    string              // the choice so far: its prompt, where echoed
	offset  int                 // characters of it that have log-probabilities
	lps     *completionLogProbs // of the prompt
}

func (a *completionAnswer) head() chatHead {
	return chatHead{a.j.id, "text_completion", a.j.created, a.j.m.Name()}
}

// begin starts a choice: it echoes the prompt, scored where log-probabilities are
// asked for.
func (a *completionAnswer) begin(r *http.Request, t *engine.Ticket, index int, p prompt) error {
	a.text, a.offset, a.lps = "", 0, nil
	if !a.echo {
		return nil
	}
	a.text = a.j.m.Decode(p.ids[p.begin:])
	if a.j.params.LogProbs {
		scores, err := t.Score(r.Context(), p.ids, a.j.params.TopLogProbs)
		if err != nil {
			return err
		}
		if p.begin == 0 { // nothing stands before the first token
			first := a.j.m.Decode(p.ids[:1])
			a.lps = &completionLogProbs{Tokens: []string{first}, TokenLogProbs: []*float64{nil}, TopLogProbs: []map[string]float64{nil}, TextOffset: []int{0}}
			a.offset = utf8.RuneCountInString(first)
		} else {
			scores = scores[p.begin-1:]
		}
		a.lps = a.add(a.lps, scores)
	}
	if a.events == nil {
		return nil
	}
	return a.send(completionChoice{Index: index, Text: a.text, LogProbs: a.lps})
}

// add appends tokens to lps, which may be nil.
func (a *completionAnswer) add(lps *completionLogProbs, tokens []engine.TokenLogProb) *completionLogProbs {
	if !a.j.params.LogProbs {
		return nil
	}
	if lps == nil {
		lps = &completionLogProbs{Tokens: []string{}, TokenLogProbs: []*float64{}, TopLogProbs: []map[string]float64{}, TextOffset: []int{}}
	}
	for _, t := range tokens {
		var top map[string]float64
		if a.j.params.TopLogProbs > 0 {
			top = map[string]float64{}
			for _, alt := range t.Top {
				top[printable(alt.Text)] = alt.LogProb
			}
		}
		lps.Tokens = append(lps.Tokens, printable(t.Text))
		lps.TokenLogProbs = append(lps.TokenLogProbs, &t.LogProb)
		lps.TopLogProbs = append(lps.TopLogProbs, top)
		lps.TextOffset = append(lps.TextOffset, a.offset)
		a.offset += utf8.RuneCountInString(t.Text)
	}
	return lps
}

func (a *completionAnswer) send(c completionChoice) error {
	return a.events.send(completionObject{chatHead: a.head(), Choices: []completionChoice{c}})
}

func (a *completionAnswer) delta(index int, d engine.Delta) error {
	if a.events == nil {
		return nil
	}
	return a.send(completionChoice{Index: index, Text: d.Text, LogProbs: a.add(nil, d.Tokens)})
}

func (a *completionAnswer) finish(index int, res engine.Result) error {
	if a.events == nil {
		a.choices = append(a.choices, completionChoice{index, a.text + res.Text, a.add(a.lps, res.LogProbs), &res.Finish})
		return nil
	}
	return a.send(completionChoice{Index: index, FinishReason: &res.Finish})
}
