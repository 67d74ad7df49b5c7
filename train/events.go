package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"time"
)

// events writes scalars to a TensorBoard event file: records of TFRecord framing (length,
// masked CRC-32C of the length, data, masked CRC-32C of the data), each an Event message
// of protocol buffers, encoded by hand.
type events struct {
	f   *os.File
	buf []byte
}

// createEvents opens a new event file in the run's folder and says that what earlier
// files hold after step is void, which is what TensorBoard needs after a resume: it
// drops everything from the step of a session's start on.
func createEvents(run string, step int) (*events, error) {
	now := time.Now()
	f, err := os.Create(filepath.Join(run, fmt.Sprintf("events.out.tfevents.%d.%d.sonde", now.Unix(), now.Nanosecond())))
	if err != nil {
		return nil, fmt.Errorf("writing TensorBoard events: %w", err)
	}
	e := &events{f: f}
	if err := e.write(appendBytes(nil, 3, []byte("brain.Event:2")), 0); err != nil {
		return nil, err
	}
	const sessionLog, start = 7, 1
	return e, e.write(appendBytes(nil, sessionLog, []byte{1 << 3, start}), step+1)
}

// numbers writes a step's numbers, those that are finite.
func (e *events) numbers(step int, numbers []Number) error {
	var summary []byte
	for _, n := range numbers {
		if !finite(n.Value) {
			continue
		}
		value := appendBytes(nil, 1, []byte(n.Name))
		value = append(value, 2<<3|5)
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(n.Value)))
		summary = appendBytes(summary, 1, value)
	}
	return e.write(appendBytes(nil, 5, summary), step)
}

// write frames one Event: wall_time is field 1, step field 2, the rest is what.
func (e *events) write(what []byte, step int) error {
	event := append([]byte{1<<3 | 1}, binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(time.Now().UnixMicro())/1e6))...)
	event = append(event, 2<<3)
	event = binary.AppendUvarint(event, uint64(step))
	event = append(event, what...)
	e.buf = binary.LittleEndian.AppendUint64(e.buf[:0], uint64(len(event)))
	e.buf = binary.LittleEndian.AppendUint32(e.buf, maskedCRC(e.buf[:8]))
	e.buf = append(e.buf, event...)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, maskedCRC(event))
	if _, err := e.f.Write(e.buf); err != nil {
		return fmt.Errorf("writing TensorBoard events: %w", err)
	}
	return nil
}

func (e *events) close() error { return e.f.Close() }

// appendBytes appends a length-delimited field.
func appendBytes(b []byte, field int, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field<<3|2))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's checksum, rotated and shifted so that a checksum of data that
// holds checksums stays sound.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
