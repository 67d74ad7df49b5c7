package text

import (
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token that is found in text as a whole, outside BPE.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no letter or digit touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it with it
	RStrip     bool   `json:"rstrip"`      // and the white space after it
	Normalized bool   `json:"normalized"`  // looked for in the normalised text
	Special    bool   `json:"special"`     // marks structure, not content
}

// Added is the added token of an id, nil if the id is not one.
func (t *Tokenizer) Added(id int32) *AddedToken {
	lo, hi := 0, len(t.added)
	for lo < hi {
		if mid := (lo + hi) / 2; t.added[mid].ID < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.added) && t.added[lo].ID == id {
		return &t.added[lo]
	}
	return nil
}

// maxAdded is the length in bytes of the longest added token: it bounds the time to
// look for one at a place of the text.
const maxAdded = 256

// trie finds added tokens in text, the longest at the leftmost place.
type trie struct {
	root  [256]int32            // first byte -> node, 0: none
	edges map[int64]int32       // node<<8 | byte -> node
	end   map[int32]*AddedToken // the token that ends at a node
	nodes int32
	cls   *classTable
}

func newTrie() *trie {
	return &trie{edges: map[int64]int32{}, end: map[int32]*AddedToken{}, cls: classes()}
}

// add enters a token; its content is not empty.
func (t *trie) add(a *AddedToken) {
	node := t.root[a.Content[0]]
	if node == 0 {
		node = t.newNode()
		t.root[a.Content[0]] = node
	}
	for i := 1; i < len(a.Content); i++ {
		key := int64(node)<<8 | int64(a.Content[i])
		next := t.edges[key]
		if next == 0 {
			next = t.newNode()
			t.edges[key] = next
		}
		node = next
	}
	t.end[node] = a
}

// newNode numbers nodes from 1.
func (t *trie) newNode() int32 {
	t.nodes++
	return t.nodes
}

// longest is the longest token that s[i:] begins with, nil if none does.
func (t *trie) longest(s string, i int) (found *AddedToken) {
	node := t.root[s[i]]
	for node != 0 {
		if a := t.end[node]; a != nil {
			found = a
		}
		i++
		if i == len(s) {
			break
		}
		node = t.edges[int64(node)<<8|int64(s[i])]
	}
	return found
}

// split calls f for each part of s in order: text with id -1, or an added token.
func (t *trie) split(s string, f func(part string, id int32)) {
	done := 0
	for i := 0; i < len(s); {
		if t.root[s[i]] == 0 {
			i++
			continue
		}
		a := t.longest(s, i)
		if a == nil {
			i++
			continue
		}
		start, end := i, i+len(a.Content)
		i = end
		if a.SingleWord && !t.standsAlone(s, start, end) {
			continue
		}
		if a.LStrip {
			start = max(t.spaceBefore(s, start), done)
		}
		if a.RStrip {
			end = t.spaceAfter(s, end)
			i = end
		}
		if start > done {
			f(s[done:start], -1)
		}
		f(s[start:end], a.ID)
		done = end
	}
	if done < len(s) {
		f(s[done:], -1)
	}
}

// standsAlone reports that no word character touches s[start:end].
func (t *trie) standsAlone(s string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(s[:start])
	after, _ := utf8.DecodeRuneInString(s[end:])
	return !(start > 0 && t.isWord(before)) && !(end < len(s) && t.isWord(after))
}

// isWord is \w: alphabetic characters, marks, decimal digits, connecting punctuation
// and joiners.
func (t *trie) isWord(r rune) bool {
	return t.cls.of(r)&(clsL|clsM) != 0 ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// spaceBefore is where the white space that ends at i begins.
func (t *trie) spaceBefore(s string, i int) int {
	for i > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:i])
		if t.cls.of(r)&clsS == 0 {
			break
		}
		i -= n
	}
	return i
}

// spaceAfter is where the white space that begins at i ends.
func (t *trie) spaceAfter(s string, i int) int {
	for i < len(s) {
		c, n := t.cls.at(s, i)
		if c&clsS == 0 {
			break
		}
		i += n
	}
	return i
}
