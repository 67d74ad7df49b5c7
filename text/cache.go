package text

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

const (
	cacheSlots = 1 << 15 // pieces remembered at most
	cachePiece = 48      // bytes of the longest piece remembered: bounds the memory to a few MB
)

// pieceCache remembers the ids of pieces: text repeats itself. One slot per hash
// value, the newest piece wins; readers and writers need no lock.
type pieceCache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[cacheEntry]
}

type cacheEntry struct {
	piece string
	ids   []int32
}

func newPieceCache() *pieceCache { return &pieceCache{seed: maphash.MakeSeed()} }

// slot is where a piece is kept.
func (c *pieceCache) slot(piece string) *atomic.Pointer[cacheEntry] {
	return &c.slots[maphash.String(c.seed, piece)%cacheSlots]
}

// store keeps a copy of piece and ids.
func (c *pieceCache) store(slot *atomic.Pointer[cacheEntry], piece string, ids []int32) {
	slot.Store(&cacheEntry{piece: strings.Clone(piece), ids: append([]int32(nil), ids...)})
}
