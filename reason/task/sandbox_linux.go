package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sandboxName is the name under which the program starts itself to prepare a sandbox. A
// user's program needs no preparation: the package's init looks at the name.
const sandboxName = "sonde-sandbox"

// strangers is the first of the users that code runs as where the caller is root: each
// run is a user of its own, so that limits on processes are its own too.
const strangers = 2_000_000_000

func init() {
	if len(os.Args) == 1 && os.Args[0] == sandboxName {
		runtime.LockOSThread() // privileges and namespaces belong to threads
		err := enterSandbox()
		report := os.NewFile(4, "report")
		fmt.Fprint(report, err)
		os.Exit(125)
	}
}

// runSandboxed runs a job with input on its standard input and returns what it writes.
// The process is the first of its own PID namespace: with it everything that it started
// dies, at the latest when ctx ends. The error wraps ErrNoSandbox if the sandbox could
// not be set up; then nothing has run.
func runSandboxed(ctx context.Context, job sandboxJob, input []byte) (output []byte, err error) {
	sandboxes <- struct{}{}
	defer func() { <-sandboxes }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &capped{left: sandboxOutput, full: cancel}
	err = inSandbox(ctx, job, strings.NewReader(string(input)), out)
	if out.left == 0 {
		err = fmt.Errorf("it wrote more than %d bytes", sandboxOutput)
	}
	if errors.Is(err, ErrNoSandbox) {
		return nil, err
	}
	return out.Bytes(), err
}

// inSandbox is runSandboxed for any streams, without waiting for a place among sandboxes.
func inSandbox(ctx context.Context, job sandboxJob, in io.Reader, out io.Writer) error {
	root, err := os.MkdirTemp("", "sonde-sandbox-")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoSandbox, err)
	}
	defer os.Remove(root) // empty: what was mounted on it is gone with the namespace
	job.Root = root
	cmd := sandboxCommand(ctx, &job)
	errs := &capped{left: sandboxErrors}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	setup, err := startSandbox(cmd, job)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoSandbox, err)
	}
	if setup != "" {
		return fmt.Errorf("%w: %s", ErrNoSandbox, setup)
	}
	return sandboxError(ctx, cmd, errs)
}

// sandboxCommand is the program itself under the sandbox's name, in new namespaces.
func sandboxCommand(ctx context.Context, job *sandboxJob) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{sandboxName}
	// Under the limit on memory, which is below what Go's runtime reserves, the runtime
	// must not want anything more before it becomes the program.
	cmd.Env = []string{"GOGC=off", "GOMAXPROCS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Setpgid:    true,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() == 0 {
		job.Become = strangers + rand.IntN(100_000_000)
	} else {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// startSandbox runs the command to its end and returns what went wrong while the sandbox
// was set up, if anything did. How the program itself ended is in cmd.ProcessState.
func startSandbox(cmd *exec.Cmd, job sandboxJob) (setup string, err error) {
	jobRead, jobWrite, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer jobWrite.Close()
	reportRead, reportWrite, err := os.Pipe()
	if err != nil {
		jobRead.Close()
		return "", err
	}
	defer reportRead.Close()
	cmd.ExtraFiles = []*os.File{jobRead, reportWrite}
	runtime.LockOSThread() // Pdeathsig follows the thread
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	jobRead.Close()
	reportWrite.Close()
	if err != nil {
		return "", err
	}
	encodeErr := json.NewEncoder(jobWrite).Encode(job)
	jobWrite.Close()
	report, _ := io.ReadAll(io.LimitReader(reportRead, 1000))
	waitErr := cmd.Wait()
	if len(report) == 0 && encodeErr != nil && waitErr != nil {
		return encodeErr.Error(), nil
	}
	return string(report), nil
}

// sandboxError says why the program failed, or nil.
func sandboxError(ctx context.Context, cmd *exec.Cmd, errs *capped) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it did not end in time")
	case cmd.ProcessState.Success():
		return nil
	}
	why := strings.TrimSpace(errs.String())
	if i := strings.LastIndexByte(why, '\n'); i >= 0 {
		why = why[i+1:]
	}
	return fmt.Errorf("it ended with %s: %.200s", cmd.ProcessState, why)
}

// enterSandbox is what the child does: it reads its job, builds the file system, gives
// everything up, and becomes the program. It returns only on failure.
func enterSandbox() error {
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	var job sandboxJob
	if err := json.NewDecoder(os.NewFile(3, "job")).Decode(&job); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	if err := buildRoot(job); err != nil {
		return err
	}
	if err := dropPrivileges(job.Become); err != nil {
		return err
	}
	if err := setLimits(job); err != nil {
		return err
	}
	return fmt.Errorf("starting %s: %w", job.Args[0], syscall.Exec(job.Args[0], job.Args, job.Env))
}

// buildRoot makes a file system in memory the root: the job's files in /box, the folders
// to read, three devices, nothing else.
func buildRoot(job sandboxJob) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	size := fmt.Sprintf("size=%d,mode=0755", sandboxDisk)
	if err := unix.Mount("tmpfs", job.Root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, size); err != nil {
		return fmt.Errorf("mounting a file system in memory: %w", err)
	}
	for _, dir := range []string{"box", "tmp", "dev"} {
		path := filepath.Join(job.Root, dir)
		if err := errors.Join(os.Mkdir(path, 0o777), os.Chmod(path, 0o777)); err != nil {
			return err
		}
	}
	for name, content := range job.Files {
		if err := os.WriteFile(filepath.Join(job.Root, "box", name), content, 0o755); err != nil {
			return err
		}
	}
	for _, dir := range job.Binds {
		if err := bindFolder(job.Root, dir); err != nil {
			return fmt.Errorf("showing %s: %w", dir, err)
		}
	}
	for _, dev := range []string{"/dev/null", "/dev/zero", "/dev/urandom"} {
		at := filepath.Join(job.Root, dev)
		if err := os.WriteFile(at, nil, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(dev, at, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("showing %s: %w", dev, err)
		}
	}
	return enterRoot(job.Root)
}

// bindFolder shows a folder at its own place below root, to be read alone, with
// everything mounted in it. A link stays a link; what does not exist is left out.
func bindFolder(root, dir string) error {
	info, err := os.Lstat(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	at := filepath.Join(root, dir)
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(dir)
		if err != nil {
			return err
		}
		return os.Symlink(target, at)
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	return unix.MountSetattr(unix.AT_FDCWD, at, unix.AT_RECURSIVE, &attr)
}

// enterRoot makes a mounted folder the root and lets go of the old one.
func enterRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting the old root go: %w", err)
	}
	return os.Chdir("/box")
}

// dropPrivileges becomes another user, if one is given, and gives up every capability, in
// a way that no program can undo.
func dropPrivileges(user int) error {
	const capabilities = 64 // more than there are
	for c := range uintptr(capabilities) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break
		} else if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	if user != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(user), syscall.Setuid(user)); err != nil {
			return fmt.Errorf("becoming user %d: %w", user, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("dropping capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding new privileges: %w", err)
	}
	// Becoming another user has cleared what Pdeathsig asked for.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// limitProcess bounds the address space of a process, and of those that it will start, and
// the files that they write, in bytes.
func limitProcess(pid int, memory, file uint64) error {
	for what, limit := range map[int]uint64{unix.RLIMIT_AS: memory, unix.RLIMIT_FSIZE: file, unix.RLIMIT_CORE: 0} {
		if err := unix.Prlimit(pid, what, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return fmt.Errorf("setting limit %d: %w", what, err)
		}
	}
	return nil
}

// setLimits sets the resource limits.
func setLimits(job sandboxJob) error {
	for _, l := range []struct {
		what  int
		limit uint64
	}{
		{unix.RLIMIT_CPU, job.CPU},
		{unix.RLIMIT_FSIZE, sandboxFile},
		{unix.RLIMIT_NOFILE, sandboxFiles},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_NPROC, sandboxTasks},
		{unix.RLIMIT_AS, job.Memory},
	} {
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.limit, Max: l.limit}); err != nil {
			return fmt.Errorf("setting limit %d: %w", l.what, err)
		}
	}
	return nil
}
