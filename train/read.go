package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// maxLine bounds one JSONL line, so that a hostile file cannot fill the memory.
const maxLine = 16 << 20

// reader yields the documents of sources one after the other. A document longer than
// piece bytes is cut at ends of lines into documents of its own, which bounds memory.
type reader struct {
	field  string // JSONL field and parquet column of the text
	piece  int
	counts *Counts
	buf    []byte
	first  error // the first malformed place, for the message when nothing is left
}

// each calls yield for every document of s. The bytes are valid during the call only.
func (r *reader) each(s source, yield func([]byte) error) error {
	f, err := os.Open(s.path)
	if err != nil {
		r.counts.Unreadable++
		return nil
	}
	defer f.Close()
	r.counts.Files++
	switch s.format {
	case jsonLines:
		return r.jsonLines(f, s.path, yield)
	case parquetFile:
		return r.parquet(f, s.path, yield)
	}
	return r.plain(f, s.path, yield)
}

// plain reads a text file, in pieces where it is long.
func (r *reader) plain(f *os.File, name string, yield func([]byte) error) error {
	if cap(r.buf) < r.piece {
		r.buf = make([]byte, r.piece)
	}
	buf, held := r.buf[:r.piece], 0
	for first := true; ; first = false {
		n, err := io.ReadFull(f, buf[held:])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		doc := buf[:held+n]
		if first && isBinary(doc, end) {
			r.counts.Files--
			r.counts.Binary++
			return nil
		}
		if end {
			if first || len(doc) > 0 {
				return r.whole(doc, yield)
			}
			return nil
		}
		cut := cutPoint(doc)
		if err := r.whole(doc[:cut], yield); err != nil {
			return err
		}
		held = copy(buf, doc[cut:])
	}
}

// whole yields a document that needs no cutting, unless it is empty or no text.
func (r *reader) whole(doc []byte, yield func([]byte) error) error {
	switch {
	case len(doc) == 0:
		r.counts.Empty++
		return nil
	case !utf8.Valid(doc):
		r.counts.Binary++
		return nil
	}
	return yield(doc)
}

// cut yields text of any length in pieces.
func (r *reader) cut(doc []byte, yield func([]byte) error) error {
	for len(doc) > r.piece {
		n := cutPoint(doc[:r.piece])
		if err := r.whole(doc[:n], yield); err != nil {
			return err
		}
		doc = doc[n:]
	}
	return r.whole(doc, yield)
}

// cutPoint is where to cut a full buffer: after its last newline, else before its last
// character.
func cutPoint(b []byte) int {
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	i := len(b) - 1
	for i > 1 && len(b)-i < utf8.UTFMax && !utf8.RuneStart(b[i]) {
		i--
	}
	return max(i, 1)
}

// isBinary looks for a zero byte or broken UTF-8 near the start, as git does.
func isBinary(b []byte, whole bool) bool {
	head := b[:min(len(b), 8000)]
	if bytes.IndexByte(head, 0) >= 0 {
		return true
	}
	for len(head) > 0 {
		c, n := utf8.DecodeRune(head)
		if c == utf8.RuneError && n <= 1 {
			return len(head) >= utf8.UTFMax || (whole && len(b) <= 8000)
		}
		head = head[n:]
	}
	return false
}

func (r *reader) malformed(err error) {
	r.counts.Malformed++
	if r.first == nil {
		r.first = err
	}
}

func (r *reader) jsonLines(f io.Reader, name string, yield func([]byte) error) error {
	in := bufio.NewReaderSize(f, 64<<10)
	for line := 1; ; line++ {
		raw, err := r.line(in)
		if err != nil && !errors.Is(err, io.EOF) {
			if !errors.Is(err, bufio.ErrTooLong) {
				return fmt.Errorf("reading %s, line %d: %w", name, line, err)
			}
			r.malformed(fmt.Errorf("%s, line %d: longer than %s", name, line, size(maxLine)))
			continue
		}
		if line == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\ufeff")) // some editors put a byte order mark first
		}
		if len(bytes.TrimSpace(raw)) > 0 {
			doc, bad := textField(raw, r.field)
			if bad != nil {
				r.malformed(fmt.Errorf("%s, line %d: %w", name, line, bad))
			} else if err := r.cut([]byte(doc), yield); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// line reads up to a newline into r.buf; a line beyond maxLine is read over.
func (r *reader) line(in *bufio.Reader) ([]byte, error) {
	r.buf = r.buf[:0]
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(r.buf)+len(part) > maxLine; !long {
			r.buf = append(r.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if long && err == nil {
			err = bufio.ErrTooLong
		}
		return r.buf, err
	}
}

// textField takes one string out of a JSON object.
func textField(raw []byte, field string) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return "", fmt.Errorf("not a JSON object: %w", err)
	}
	value, ok := object[field]
	if !ok {
		return "", fmt.Errorf("no field %q (name the field of the text with --text-field)", field)
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("field %q is not a string", field)
	}
	return s, nil
}

// parquet reads one column of strings, page by page. The format is parsed by a
// library; what it panics with on a damaged file becomes an error.
func (r *reader) parquet(f *os.File, name string, yield func([]byte) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s is damaged: %v", name, p)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%s is not a parquet file: %w", name, err)
	}
	leaf, ok := file.Schema().Lookup(r.field)
	if !ok || leaf.Node.Type().Kind() != parquet.ByteArray {
		return fmt.Errorf("%s has no column of strings named %q: name it with --text-field (columns: %v)", name, r.field, file.Schema().Columns())
	}
	for _, group := range file.RowGroups() {
		if err := r.column(group.ColumnChunks()[leaf.ColumnIndex], name, yield); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) column(chunk parquet.ColumnChunk, name string, yield func([]byte) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	values := make([]parquet.Value, 64)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		err = r.page(page.Values(), values, name, yield)
		parquet.Release(page)
		if err != nil {
			return err
		}
	}
}

func (r *reader) page(in parquet.ValueReader, values []parquet.Value, name string, yield func([]byte) error) error {
	for {
		n, err := in.ReadValues(values)
		for _, v := range values[:n] {
			if v.IsNull() {
				r.malformed(fmt.Errorf("%s: a row without text", name))
			} else if err := r.cut(v.ByteArray(), yield); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
}
