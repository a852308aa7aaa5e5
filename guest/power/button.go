package power

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of linux/input.h and linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
	keyBytes = 0x2ff/8 + 1 // KEY_MAX bits
	// eventSize is that of struct input_event where a long has 64 bits: time 16, type 2, code 2, value 4.
	eventSize = 24
)

// eviocgbit is EVIOCGBIT(EV_KEY, keyBytes): which keys a device has.
const eviocgbit = 2<<30 | keyBytes<<16 | 'E'<<8 | 0x20 + evKey

// Button listens to the power buttons among the input devices. The zero value is ready; Pressed must be set.
type Button struct {
	// Pressed is called for each press.
	Pressed func(device string)

	mu   sync.Mutex
	open map[string]bool
}

// Scan listens to all buttons in dir ("/dev/input").
func (b *Button) Scan(dir string) {
	devices, _ := filepath.Glob(filepath.Join(dir, "event*"))
	for _, device := range devices {
		b.Add(device)
	}
}

// Add listens to a device if it is a power button, until it goes. Adding one twice is harmless.
func (b *Button) Add(device string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open[device] {
		return
	}
	file, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	if !hasKey(file, keyPower) {
		file.Close()
		return
	}
	if b.open == nil {
		b.open = map[string]bool{}
	}
	b.open[device] = true
	go b.listen(device, file)
}

func (b *Button) listen(device string, file *os.File) {
	defer func() {
		file.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.open, device)
	}()
	buffer := make([]byte, 64*eventSize)
	for {
		n, err := file.Read(buffer)
		if err != nil {
			return
		}
		if pressed(buffer[:n]) {
			b.Pressed(device)
		}
	}
}

// pressed looks for the press of the power key among events.
func pressed(events []byte) bool {
	for ; len(events) >= eventSize; events = events[eventSize:] {
		kind := binary.NativeEndian.Uint16(events[16:])
		code := binary.NativeEndian.Uint16(events[18:])
		value := binary.NativeEndian.Uint32(events[20:])
		if kind == evKey && code == keyPower && value == 1 {
			return true
		}
	}
	return false
}

// hasKey asks a device whether it has a key.
func hasKey(file *os.File, key int) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return false
	}
	var bits [keyBytes]byte
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, eviocgbit, uintptr(unsafe.Pointer(&bits[0])))
	})
	return err == nil && errno == 0 && bits[key/8]&(1<<(key%8)) != 0
}
