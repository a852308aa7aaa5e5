package initd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The files of a tree that hooksmith has built.
const (
	sentinelFile = "/etc/hooksmith/complete" // the very last file of the initramfs
	ramFile      = "/etc/hooksmith/ram"      // among the first: MiB of RAM that are needed
	releaseFile  = "/etc/hooksmith/release"
	xattrsFile   = "/etc/hooksmith/xattrs"
)

// unpackFailed is how the kernel says that it could not unpack all of the initramfs. It boots what it has.
const unpackFailed = "Initramfs unpacking failed"

// incomplete explains why not all of the initramfs is there, "" if it is. A tree without our files, made with another
// tool, is taken as complete unless the kernel has said otherwise.
func incomplete(root string, kernelLog func() string, installed int) string {
	if _, err := os.Stat(filepath.Join(root, sentinelFile)); err == nil {
		return ""
	}
	needed, known := ramNeeded(root)
	reason := failedUnpack(kernelLog())
	switch {
	case !known && reason == "":
		return ""
	case known && installed < needed, strings.Contains(reason, "write error"):
		need := "more memory"
		if known {
			need = fmt.Sprintf("at least %d MiB", needed)
		}
		return fmt.Sprintf("too little memory: this machine has %d MiB, HookOS needs %s. Add memory, or boot a smaller flavor.", installed, need)
	}
	if reason == "" {
		reason = "its last file is missing"
	}
	return fmt.Sprintf("the initramfs is damaged or was not loaded whole (%s). Compare the file that the boot server sends with checksum.txt.", reason)
}

// ramNeeded reads how many MiB the builder asks for.
func ramNeeded(root string) (int, bool) {
	text, err := os.ReadFile(filepath.Join(root, ramFile))
	if err != nil {
		return 0, false
	}
	// A file that was cut off still says that the tree is ours.
	needed, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return needed, true
}

// failedUnpack finds the kernel's message about the initramfs.
func failedUnpack(log string) string {
	for line := range strings.Lines(log) {
		if at := strings.Index(line, unpackFailed); at >= 0 {
			return strings.TrimSpace(line[at:])
		}
	}
	return ""
}

// readKernelLog reads the records that the kernel has so far.
func readKernelLog() string {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var log bytes.Buffer
	record := make([]byte, 8192)
	for log.Len() < 4<<20 {
		n, err := unix.Read(fd, record)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) { // records were overwritten meanwhile
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		log.Write(record[:n])
	}
	return log.String()
}

// installedRAM is the machine's memory in MiB. /proc/iomem knows it before the kernel has taken its part, as the label
// on the machine does; it is rounded up to whole 8 MiB for what the firmware keeps.
func installedRAM(iomem, meminfo string) int {
	var bytes uint64
	lines := bufio.NewScanner(strings.NewReader(iomem))
	for lines.Scan() {
		span, name, _ := strings.Cut(lines.Text(), " : ")
		first, last, ok := strings.Cut(span, "-")
		if !ok || name != "System RAM" || strings.HasPrefix(span, " ") {
			continue
		}
		a, errA := strconv.ParseUint(first, 16, 64)
		b, errB := strconv.ParseUint(last, 16, 64)
		if errA == nil && errB == nil && b > a {
			bytes += b - a + 1
		}
	}
	if bytes == 0 {
		_, rest, _ := strings.Cut(meminfo, "MemTotal:")
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, _ := strconv.ParseUint(kib, 10, 64)
		bytes = n << 10
	}
	const step = 8
	return int((bytes>>20 + step - 1) / step * step)
}

func readFile(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}
