//go:build unix

package hub

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockBlob keeps two processes from fetching the same blob; the system frees it when
// the process ends.
func lockBlob(blob string) (unlock func(), err error) {
	f, err := os.OpenFile(blob+".sonde-lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("another process is fetching it: wait for it to end")
		}
		return nil, err
	}
	return func() { os.Remove(f.Name()); f.Close() }, nil
}
