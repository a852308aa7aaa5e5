package modules

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"hooksmith/guest/modalias"
)

// compressedFile is MODULE_INIT_COMPRESSED_FILE of linux/module.h: the kernel unpacks the file itself (since 5.17, with
// CONFIG_MODULE_DECOMPRESS).
const compressedFile = 4

// modprobe is busybox's, for kernels that cannot unpack modules themselves.
const modprobe = "/sbin/modprobe"

// insertFile gives a module file to the kernel.
func insertFile(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		if strings.HasSuffix(file, suffix) {
			flags = compressedFile
		}
	}
	err = unix.FinitModule(int(f.Fd()), params, flags)
	if flags != 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)) {
		return byModprobe(modalias.ModuleOf(file), params)
	}
	return err
}

// byModprobe loads a module with busybox, which unpacks it in user space.
func byModprobe(name, params string) error {
	out, err := exec.Command(modprobe, append([]string{name}, strings.Fields(params)...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", modprobe, err, bytes.TrimSpace(out))
	}
	return nil
}

// Absent says whether loading failed only because the machine has no such hardware, which is not worth a message.
func Absent(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
