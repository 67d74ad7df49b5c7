package checkpoint

import (
	"io"
	"os"
	"runtime/debug"
	"sync"
	"unsafe"

	"sonde/model"
)

// mapping is a file's memory.
type mapping struct {
	path  string
	bytes []byte
	free  func([]byte) error
}

// mappings are all that are alive, so that a fault's address can be given its file.
var mappings = struct {
	sync.Mutex
	all map[*mapping]bool
}{all: map[*mapping]bool{}}

// newMapping maps the whole of f; what is in memory already is taken as it is, and what
// is no file of the system (a test's reader) is read instead.
func newMapping(f *File) (*mapping, error) {
	m := &mapping{path: f.path, free: func([]byte) error { return nil }}
	if in, ok := f.f.(memory); ok {
		m.bytes = in.all
		return m, nil
	}
	file, ok := f.f.(*os.File)
	if !ok || f.size == 0 {
		m.bytes = make([]byte, f.size)
		if n, err := f.f.ReadAt(m.bytes, 0); n < len(m.bytes) {
			return nil, err
		}
		return m, nil
	}
	// The file may have been cut short since its header was read; mapped beyond its end
	// it would fault at once.
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < f.size {
		return nil, io.ErrUnexpectedEOF
	}
	if m.bytes, err = mapFile(file, f.size); err != nil {
		return nil, err
	}
	m.free = unmapFile
	mappings.Lock()
	mappings.all[m] = true
	mappings.Unlock()
	return m, nil
}

func (m *mapping) close() error {
	mappings.Lock()
	delete(mappings.all, m)
	mappings.Unlock()
	return m.free(m.bytes)
}

// Guard calls f, which touches mapped files. Where a file's memory is no longer there,
// because somebody cut it short or its disk failed, the error is a *FormatError that
// names it; the operating system's signal would have ended the process otherwise.
// Goroutines that f starts are covered when they hand panics on and have called
// debug.SetPanicOnFault, as the workers of compute/cpu do.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			if err = faultError(r); err == nil {
				panic(r)
			}
		}
	}()
	return f()
}

// faultError is the error of the file that a fault's address lies in, nil for every
// other panic.
func faultError(r any) error {
	fault, ok := r.(interface{ Addr() uintptr })
	if !ok {
		return nil
	}
	mappings.Lock()
	defer mappings.Unlock()
	for m := range mappings.all {
		start := uintptr(unsafe.Pointer(unsafe.SliceData(m.bytes)))
		if at := fault.Addr(); at >= start && at-start < uintptr(len(m.bytes)) {
			return readError(m.path, "", io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// Guarded is net with Guard around every Forward, for models whose weights are bound
// to files.
func Guarded(net model.Net) model.Net { return guarded{net} }

type guarded struct{ model.Net }

// Forward is the model's; a file cut short while it runs is an error.
func (g guarded) Forward(parts []model.Part) error {
	return Guard(func() error { return g.Net.Forward(parts) })
}
