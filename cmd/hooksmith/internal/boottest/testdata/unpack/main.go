//go:build linux

// Command unpack is an /init that prints what the kernel made of an initramfs.
package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	var count int
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// What the kernel brings along.
		if path == "/" || path == "/init" || path == "/dev" || path == "/root" || path == "/dev/console" {
			return nil
		}
		count++
		fmt.Print("unpack: " + line(path) + "\n")
		return nil
	})
	fmt.Printf("unpack: end of %d, %v\n", count, err)
	time.Sleep(time.Second) // for the serial line
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

// line describes one path; machine_test.go makes the same from a tree.
func line(path string) string {
	var s syscall.Stat_t
	if err := syscall.Lstat(path, &s); err != nil {
		return fmt.Sprint(path, err)
	}
	var content string
	switch s.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		b, err := os.ReadFile(path)
		content = fmt.Sprintf("%x %v", sha256.Sum256(b), err)
	case syscall.S_IFLNK:
		content, _ = os.Readlink(path)
	case syscall.S_IFCHR, syscall.S_IFBLK:
		content = fmt.Sprintf("%d:%d", s.Rdev>>8&0xfff, s.Rdev&0xff|s.Rdev>>12&0xfff00)
	}
	name := strings.TrimPrefix(path, "/")
	if len(name) > 100 {
		name = fmt.Sprintf("%x of %d", sha256.Sum256([]byte(name)), len(name))
	}
	links := uint64(1)
	if s.Mode&syscall.S_IFMT == syscall.S_IFREG {
		links = uint64(s.Nlink)
	}
	return fmt.Sprintf("%s|%o|%d:%d|%d|%d|%s", name, s.Mode, s.Uid, s.Gid, s.Mtim.Sec, links, content)
}
