//go:build unix

package checkpoint

import (
	"errors"
	"os"
	"syscall"
)

// syncDir waits until the folder's entries (created, renamed, removed names) are on
// disk. A file system that has no such thing is left to its own ways.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}
