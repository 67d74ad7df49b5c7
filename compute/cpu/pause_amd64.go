package cpu

// pause is the processor's hint that a loop is waiting.
//
//go:noescape
func pause()
