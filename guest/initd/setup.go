package initd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// imagesDir is Docker's store by Hook's convention.
	imagesDir = "/run/images"
	// embeddedImages is a store that comes with the initramfs, as upstream's hook-embedded places it.
	embeddedImages = "/etc/embedded-images"
	resolvConf     = "/run/resolvconf/resolv.conf"
)

// setup does the small things that containers rely on. What fails is told and left.
func (j *job) setup() {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"folders", prepareFolders},
		{"the host name", func() error { return setHostname(readFile("/etc/hostname")) }},
		{"the loopback interface", loopbackUp},
		{"Docker's store", prepareImages},
		{"extended attributes", func() error { return applyXattrs("/", xattrsFile) }},
	} {
		if err := step.do(); err != nil {
			j.log.Printf("setting up %s: %v", step.what, err)
		}
	}
	j.setSysctls()
}

// prepareFolders makes folders and files that images expect.
func prepareFolders() error {
	var errs []error
	for dir, mode := range map[string]os.FileMode{
		"/run/hooksmith": 0o755, "/run/runc": 0o700, "/run/resolvconf": 0o755, "/run/lock": 0o755, "/var/log": 0o755, "/tmp": 0o755, "/mnt": 0o755,
	} {
		errs = append(errs, os.MkdirAll(dir, mode))
	}
	errs = append(errs, os.Chmod("/tmp", 0o777|os.ModeSticky), linkRun())
	// A bind mount of /etc/resolv.conf needs the file before the network writes it.
	f, err := os.OpenFile(resolvConf, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		err = f.Close()
	}
	return errors.Join(append(errs, err)...)
}

// linkModprobe puts modprobe where the kernel looks for it when it needs a module. The initramfs has it elsewhere:
// before init the kernel asks for nothing but faster ciphers, which coldplug brings too, and each takes time. Of those
// that the processor has no instructions for, busybox then gives the kernel the file once more as if it were not
// compressed, which the kernel calls an error ("Invalid ELF header magic") on every console.
func linkModprobe(root string) error {
	const program, link = "usr/bin/modprobe", "sbin/modprobe"
	if _, err := os.Stat(filepath.Join(root, program)); err != nil {
		return nil // a tree of another tool, with a modprobe of its own or none
	}
	err := os.Symlink("/"+program, filepath.Join(root, link))
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// linkRun makes /var/run the same as /run.
func linkRun() error {
	err := os.Symlink("/run", "/var/run")
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if info, err := os.Lstat("/var/run"); err == nil && info.IsDir() {
		return unix.Mount("/run", "/var/run", "", unix.MS_BIND|unix.MS_REC, "")
	}
	return nil
}

// prepareImages puts Docker's store on the root file system, under whose limit it is together with everything else.
func prepareImages() error {
	store := embeddedImages
	if _, err := os.Stat(store); err != nil {
		store = "/var/lib/images"
	}
	if mounted(imagesDir) {
		return nil
	}
	if err := errors.Join(os.MkdirAll(store, 0o711), os.MkdirAll(imagesDir, 0o711)); err != nil {
		return err
	}
	return unix.Mount(store, imagesDir, "", unix.MS_BIND, "")
}

// setHostname sets the name in a file's text, unless hostname= on the command line or an earlier init has set one.
func setHostname(text string) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	if now := unix.ByteSliceToString(uts.Nodename[:]); now != "" && now != "(none)" && now != "localhost" {
		return nil
	}
	name, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if name == "" {
		name = "hookos"
	}
	return unix.Sethostname([]byte(name))
}

// loopbackUp brings lo up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// mountEFI mounts the firmware's variables, with which a workflow changes the boot order.
func (j *job) mountEFI() {
	const target = "/sys/firmware/efi/efivars"
	if _, err := os.Stat(target); err != nil || mounted(target) {
		return
	}
	j.devices.need([]string{"efivarfs"})
	if err := unix.Mount("efivarfs", target, "efivarfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		j.log.Debugf("mounting %s: %v", target, err)
	}
}

// setSysctls applies /etc/sysctl.conf and /etc/sysctl.d. It is called again when modules have brought more keys.
func (j *job) setSysctls() {
	files, _ := filepath.Glob("/etc/sysctl.d/*.conf")
	for _, file := range append([]string{"/etc/sysctl.conf"}, files...) {
		for _, s := range parseSysctls(readFile(file)) {
			if err := s.set("/proc/sys"); err != nil && !s.optional {
				j.log.Debugf("%s: %v", file, err)
			}
		}
	}
}
