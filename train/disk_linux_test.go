package train

import (
	"bytes"
	"io"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that fills ends the run with the step and the last good checkpoint named, and
// with more room the run goes on.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=700k"); err != nil {
		t.Skipf("a small tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	whole := tinyConfig(t, filepath.Join(t.TempDir(), "whole"), 20)
	whole.SaveEvery, whole.Keep = 4, 4
	mustRun(t, whole)

	c := tinyConfig(t, filepath.Join(disk, "run"), 20)
	c.SaveEvery, c.Keep = 4, 4
	var out bytes.Buffer
	_, err := Run(t.Context(), c, &out)
	wantError(t, err, "no space left", "step ", "last good checkpoint", "--resume", c.Out)
	t.Log(err)
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=20m"); err != nil {
		t.Fatal(err)
	}
	c.Resume = true
	mustRun(t, c)
	compareLogs(t, whole.Out, c.Out)
}

// A disk that fills while the data is packed: the message says what to do.
func TestFullDiskBeforeTheFirstStep(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=32k"); err != nil {
		t.Skipf("a small tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	_, err := Run(t.Context(), tinyConfig(t, filepath.Join(disk, "run"), 2), io.Discard)
	wantError(t, err, "no space left", "free space", "--out")
}
