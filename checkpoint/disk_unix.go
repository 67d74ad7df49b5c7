//go:build unix

package checkpoint

import "golang.org/x/sys/unix"

// FreeBytes is what the disk of the folder dir can still take from this user.
func FreeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), nil
}
