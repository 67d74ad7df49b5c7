package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// File is an open file of weights whose header has been read and checked.
//
// Its tensors are there in two ways. Read copies through a small buffer; a file that
// somebody cuts short gives an error. Bytes is the file's own memory, mapped, for
// weights that run as they are: what touches it does so inside Guard, which turns the
// fault of a file cut short into that file's error.
type File struct {
	path     string
	f        io.ReaderAt
	close    func() error
	size     int64
	data     int64 // where the tensors' data begins
	tensors  []Info
	metadata map[string]string
	mem      *mapping // nil until Bytes is asked for
}

// OpenFile opens one safetensors file. Anything wrong with its header is a
// *FormatError.
func OpenFile(path string) (*File, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	return newFile(path, f)
}

// openRegular opens what is a file and nothing else: opening a pipe would wait for a
// writer.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{Path: path, Problem: "is not a regular file", Try: "name a .safetensors or .gguf file"}
	}
	return os.Open(path)
}

// newFile takes f over; it is closed when the header is refused.
func newFile(path string, f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	file, err := readFile(path, f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	file.close = f.Close
	return file, nil
}

// readFile reads the header: 8 bytes of length, little-endian, then JSON.
func readFile(path string, r io.ReaderAt, size int64) (*File, error) {
	refuse := func(problem string) (*File, error) {
		return nil, &FormatError{Path: path, Problem: problem, Try: damaged}
	}
	var head [8]byte
	if size < int64(len(head)) {
		return refuse(fmt.Sprintf("has %d bytes, too few for a safetensors file", size))
	}
	if _, err := r.ReadAt(head[:], 0); err != nil {
		return nil, readError(path, "", err)
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > maxHeader || n > uint64(size-8) {
		return refuse(fmt.Sprintf("claims a header of %d bytes; it has %d, and at most %d are allowed", n, size-8, maxHeader))
	}
	raw := make([]byte, n)
	if _, err := r.ReadAt(raw, 8); err != nil && n > 0 {
		return nil, readError(path, "", err)
	}
	file := &File{path: path, f: r, size: size, data: 8 + int64(n)}
	var err error
	file.tensors, file.metadata, err = parseHeader(raw, size-file.data)
	if err != nil {
		var fe *FormatError
		if errors.As(err, &fe) {
			fe.Path = path
			return nil, fe
		}
		return nil, &FormatError{Path: path, Problem: "the header is not JSON", Try: damaged, Err: err}
	}
	return file, nil
}

// Path is the file's path.
func (f *File) Path() string { return f.path }

// Tensors lists the file's tensors in the order of their data.
func (f *File) Tensors() []Info { return f.tensors }

// Metadata is the header's free map of strings, nil when it has none.
func (f *File) Metadata() map[string]string { return f.metadata }

// Read fills dst with x's bytes from off on. A file that was cut short since it was
// opened is a *FormatError.
func (f *File) Read(x Info, off int64, dst []byte) error {
	if off < 0 || int64(len(dst)) > x.Bytes || off > x.Bytes-int64(len(dst)) {
		return &FormatError{Path: f.path, Tensor: x.Name, Problem: fmt.Sprintf("bytes [%d, +%d) of %d were asked for", off, len(dst), x.Bytes)}
	}
	if len(dst) == 0 {
		return nil
	}
	if n, err := f.f.ReadAt(dst, f.data+x.begin+off); n < len(dst) {
		return readError(f.path, x.Name, err)
	}
	return nil
}

// Bytes is x in the file's own memory, mapped on first use; it is valid until Close and
// is touched inside Guard alone.
func (f *File) Bytes(x Info) ([]byte, error) {
	if err := f.mapped(); err != nil {
		return nil, err
	}
	at := f.data + x.begin // verified against the size when the header was read
	return f.mem.bytes[at : at+x.Bytes : at+x.Bytes], nil
}

// mapped makes sure that the file's memory is there.
func (f *File) mapped() (err error) {
	if f.mem != nil {
		return nil
	}
	if f.mem, err = newMapping(f); err != nil {
		return readError(f.path, "", err)
	}
	return nil
}

// Close closes the file and gives its memory back.
func (f *File) Close() error {
	var err error
	if f.mem != nil {
		err = f.mem.close()
		f.mem = nil
	}
	if f.close == nil {
		return err
	}
	return errors.Join(err, f.close())
}

func readError(path, tensor string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{Path: path, Tensor: tensor, Problem: "the file was cut short while it was being read",
			Try: "do not change a model's files while they are in use; fetch or save it again", Err: io.ErrUnexpectedEOF}
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &FormatError{Path: path, Tensor: tensor, Problem: "reading failed", Try: "check the disk", Err: err}
}
