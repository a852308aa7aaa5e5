package lease

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings a file's content to the disk, and of the rest what is needed
// to read it.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
