package hub

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// lockBlob keeps two processes from fetching the same blob; the system frees it when
// the process ends.
func lockBlob(blob string) (unlock func(), err error) {
	f, err := os.OpenFile(blob+".sonde-lock", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
	if err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			err = fmt.Errorf("another process is fetching it: wait for it to end")
		}
		return nil, err
	}
	return func() { f.Close(); os.Remove(blob + ".sonde-lock") }, nil
}
