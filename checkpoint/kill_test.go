package checkpoint

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sonde/compute"
)

var kills = flag.Int("kills", 5, "how often TestKilledWhileSaving kills")

// killRows makes a state of 1 MB.
const killRows = 1300

const killDir = "SONDE_TEST_KILL_DIR"

// TestMain makes the test binary its own victim.
func TestMain(m *testing.M) {
	flag.Parse()
	if dir := os.Getenv(killDir); dir != "" {
		saveForever(dir)
	}
	os.Exit(m.Run())
}

// saveForever is the child: it saves state after state and says which are committed.
func saveForever(dir string) {
	be := compute.NewReference()
	r := makeRun(maker{be, be.NewArena("child")}, dir, killRows)
	lock, err := LockRun(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer lock.Unlock()
	step := 1
	if s, err := LoadLatest(dir); err == nil {
		step = s.Step // replaces the newest, then goes on
		s.Close()
	}
	for ; ; step++ {
		if err := errors.Join(r.save(step), Prune(dir, 2)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(step)
	}
}

// TestKilledWhileSaving kills a process (SIGKILL) at random moments of its life and
// makes sure that what it had committed is there, whole. Run it with -kills 50.
func TestKilledWhileSaving(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	r := newRun(t, killRows)
	committed, halfWritten := 0, 0
	for i := range *kills {
		child := exec.Command(exe)
		child.Env = append(os.Environ(), killDir+"="+r.dir)
		out, err := child.StdoutPipe()
		must(t, err)
		must(t, child.Start())
		lines := bufio.NewReader(out)
		if i%2 == 0 { // in the midst of saving; otherwise while starting, perhaps
			committed = max(committed, number(t, lines))
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		must(t, child.Process.Kill())
		for n := 1; n > 0; committed = max(committed, n) {
			n = number(t, lines)
		}
		child.Wait()

		if entries, _ := filepath.Glob(filepath.Join(r.dir, stateDir, ".*")); len(entries) > 0 {
			halfWritten++
		}
		lock, err := LockRun(r.dir) // as a run that goes on does
		must(t, err)
		must(t, lock.Unlock())
		s, err := LoadLatest(r.dir)
		if committed == 0 && errors.Is(err, ErrNoState) {
			continue
		}
		must(t, err)
		step := s.Step
		s.Close()
		if step < committed || step > committed+1 {
			t.Fatalf("kill %d: the newest state is of step %d, step %d was committed", i, step, committed)
		}
		r.check(t, step, 0)
	}
	if committed == 0 && *kills >= 5 {
		t.Error("no child ever committed a state")
	}
	t.Logf("%d kills, %d of them with a state half-written or half-replaced; %d steps", *kills, halfWritten, committed)
}

// number is the next committed step, 0 at the end of the child's output.
func number(t *testing.T, r *bufio.Reader) int {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the child says %q", line)
	}
	return n
}

// TestLockGoesWithItsProcess meets a run that is alive, then one that was killed.
func TestLockGoesWithItsProcess(t *testing.T) {
	exe, err := os.Executable()
	must(t, err)
	r := newRun(t, killRows)
	child := exec.Command(exe)
	child.Env = append(os.Environ(), killDir+"="+r.dir)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	_, err = bufio.NewReader(out).ReadString('\n') // the first state is committed
	must(t, err)
	if _, err := LockRun(r.dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second run beside a living one: %v", err)
	}
	must(t, child.Process.Kill())
	child.Wait()
	lock, err := LockRun(r.dir)
	must(t, err)
	must(t, lock.Unlock())
}
