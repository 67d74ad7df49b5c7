package model

import (
	"fmt"

	"sonde/compute"
	"sonde/nn"
)

// Packing says how the rows of sequences side by side, of lens tokens, lie for attention,
// with the tensors it needs in ar; pos are the rows' positions, longest the tokens of the
// longest sequence, its prefix included. prefix is Packed's.
func Packing(be compute.Backend, ar *compute.Arena, lens, prefix []int) (p nn.Packing, pos []int32, longest int) {
	if prefix != nil && len(prefix) != len(lens) {
		panic(fmt.Sprintf("model: %d prefixes for %d sequences", len(prefix), len(lens)))
	}
	first := make([]int, len(lens)+1) // each sequence's first row
	for i, n := range lens {
		if n < 0 {
			panic(fmt.Sprintf("model: a sequence of %d tokens", n))
		}
		first[i+1] = first[i] + n
	}
	pos = make([]int32, 0, first[len(lens)])
	var rows, own, all []int32 // all: positions of rows
	p.Lens = make([]int, len(lens))
	for i, n := range lens {
		from, shared := 0, prefixOf(prefix, i)
		if shared >= 0 {
			from = lens[shared]
			for j := range from {
				rows, all = append(rows, int32(first[shared]+j)), append(all, int32(j))
			}
		}
		for j := range n {
			own = append(own, int32(len(rows)))
			rows, all = append(rows, int32(first[i]+j)), append(all, int32(from+j))
			pos = append(pos, int32(from+j))
		}
		p.Lens[i] = from + n
		longest = max(longest, from+n)
	}
	if len(rows) == len(pos) {
		return p, pos, longest
	}
	upload := func(v []int32) compute.Tensor {
		t := ar.I32(1, len(v))
		be.UploadI32(t, v)
		return t
	}
	p.Rows, p.Own, p.Pos = upload(rows), upload(own), upload(all)
	return p, pos, longest
}

// prefixOf is the sequence that sequence i continues, -1 for none.
func prefixOf(prefix []int, i int) int {
	if prefix == nil || prefix[i] < 0 {
		return -1
	}
	if p := prefix[i]; p >= i || prefix[p] >= 0 {
		panic(fmt.Sprintf("model: sequence %d cannot continue sequence %d: that comes later, or continues one itself", i, p))
	}
	return prefix[i]
}
