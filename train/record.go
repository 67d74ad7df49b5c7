package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// Number is a figure of a step under its name.
type Number struct {
	Name  string
	Value float64
}

// Record is a step as log.jsonl holds it, one JSON object a line:
//
//	{"step":1,"time":1764000000.25,"loss":2.3,"lr":0.001,"loads":[[12,9,11,0]]}
//
// The numbers go by the same names whatever the kind of run: loss, lr, grad_norm, tokens,
// tokens_per_s, load_max_mean, reward, accuracy, entropy, kl, heldout_loss and so on. One
// that does not apply, or is not finite, is left out.
type Record struct {
	Step    int     // from 1
	Time    float64 // unix seconds; Journal.Add fills it in
	Numbers []Number
	Loads   [][]int64 // per MoE layer: tokens that chose each expert
}

// Set gives a number its value, anew where it has one.
func (r *Record) Set(name string, value float64) {
	for i := range r.Numbers {
		if r.Numbers[i].Name == name {
			r.Numbers[i].Value = value
			return
		}
	}
	r.Numbers = append(r.Numbers, Number{name, value})
}

// Get returns a number; false where the step has none of that name.
func (r *Record) Get(name string) (float64, bool) {
	for _, n := range r.Numbers {
		if n.Name == name {
			return n.Value, true
		}
	}
	return 0, false
}

// MarshalJSON writes the numbers with every digit, in their order.
func (r Record) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"step":%d,"time":%.3f`, r.Step, r.Time)
	for _, n := range r.Numbers {
		if !finite(n.Value) {
			continue
		}
		name, err := json.Marshal(n.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(n.Value)
		if err != nil {
			return nil, err
		}
		b.WriteByte(',')
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	if len(r.Loads) > 0 {
		loads, err := json.Marshal(r.Loads)
		if err != nil {
			return nil, err
		}
		b.WriteString(`,"loads":`)
		b.Write(loads)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads a line; what is neither a number nor known by name is passed over.
func (r *Record) UnmarshalJSON(raw []byte) error {
	*r = Record{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("a step of the log is no JSON object: %w", err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := r.field(key.(string), value); err != nil {
			return err
		}
	}
	return nil
}

func (r *Record) field(name string, value json.RawMessage) error {
	if name == "loads" {
		return json.Unmarshal(value, &r.Loads)
	}
	var v float64
	if json.Unmarshal(value, &v) != nil || string(value) == "null" {
		return nil
	}
	switch name {
	case "step":
		if v != math.Trunc(v) || v < 1 || v > maxSteps {
			return fmt.Errorf("the log has a step %v", v)
		}
		r.Step = int(v)
	case "time":
		r.Time = v
	default:
		r.Set(name, v)
	}
	return nil
}
