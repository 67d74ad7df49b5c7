package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sonde/compute"
)

// smallDisk mounts a file system of its own with the given size.
func smallDisk(t *testing.T, bytes int) string {
	if os.Getuid() != 0 {
		t.Skip("only root can mount the small disk this test fills")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("no small disk to fill: mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// TestStateFillsTheDisk saves until the disk is full: the error names the file and
// the last good state, which is still whole, and saving works again once there is room.
func TestStateFillsTheDisk(t *testing.T) {
	disk := smallDisk(t, 1<<20)
	r := newRun(t, 1000) // 3 x 256 kB
	r.dir = filepath.Join(disk, "run")
	must(t, r.save(1))
	err := r.save(2)
	var se *SaveError
	if !errors.As(err, &se) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if !slices.Contains([]string{r.path(2, weightsFile), r.path(2, momentsFile)}, se.File) || se.LastGood != filepath.Dir(r.path(1, weightsFile)) ||
		!strings.Contains(err.Error(), se.File) || !strings.Contains(err.Error(), se.LastGood) {
		t.Errorf("the error does not say what is lost and what is not: %v", err)
	}
	r.check(t, 1, 0)
	if got := names(t, filepath.Join(r.dir, stateDir)); !slices.Equal(got, []string{"step-00000001"}) {
		t.Errorf("left behind: %v", got)
	}
	must(t, syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=4m"))
	must(t, r.save(2))
	r.check(t, 2, 0)
}

// TestStateFitsToTheByte lets the disk run out in every file of a state in turn.
func TestStateFitsToTheByte(t *testing.T) {
	disk := smallDisk(t, 1<<20)
	r := newRun(t, 200)
	r.dir = filepath.Join(disk, "run")
	must(t, r.save(1))
	filler := filepath.Join(disk, "filler")
	seen := map[string]bool{}
	for step, room := 2, 0; ; room += 4096 {
		var fs syscall.Statfs_t
		must(t, os.WriteFile(filler, nil, 0o644))
		must(t, syscall.Statfs(disk, &fs))
		must(t, os.WriteFile(filler, make([]byte, max(0, int(fs.Bavail)*int(fs.Bsize)-room)), 0o644))
		err := r.save(step)
		if err == nil {
			r.check(t, step, 0)
			break
		}
		var se *SaveError
		if !errors.As(err, &se) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room for %d bytes: %v", room, err)
		}
		seen[filepath.Base(se.File)] = true
		r.check(t, 1, 0)
	}
	for _, file := range []string{weightsFile, momentsFile, manifestName} {
		if !seen[file] {
			t.Errorf("the disk never ran out in %s: %v", file, seen)
		}
	}
}

// TestModelFillsTheDisk saves over a model that is there already.
func TestModelFillsTheDisk(t *testing.T) {
	for _, shardBytes := range []int64{0, 400_000} {
		disk := smallDisk(t, 1<<20)
		m := newMaker(t)
		params := list(m.param("a", compute.F32, 300, 256), m.param("b", compute.F32, 300, 256))
		m.random(params, 1)
		want := m.contents(params)
		must(t, SaveHF(disk, smallHF, params, m.be, shardBytes))
		before := names(t, disk)
		m.random(params, 2)
		var se *SaveError
		if err := SaveHF(disk, smallHF, params, m.be, shardBytes); !errors.As(err, &se) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(se.File, "model") {
			t.Fatalf("got %v", err)
		}
		f, err := Open(disk)
		must(t, err)
		must(t, f.Load(params, m.be))
		f.Close()
		if m.contents(params) != want {
			t.Error("the earlier model is damaged")
		}
		if got := names(t, disk); !slices.Equal(got, before) {
			t.Errorf("left behind: %v", got)
		}
	}
}
