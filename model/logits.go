package model

// Logits runs one text through n in a sequence of its own and returns the logits of
// every position, [len(ids), V].
func Logits(n Net, ids []int32) ([]float32, error) {
	s := n.NewSequence(len(ids))
	defer s.Close()
	part := []Part{{Sequence: s, IDs: ids, Want: WantAll}}
	if err := n.Forward(part); err != nil {
		return nil, err
	}
	return part[0].Logits, nil
}
