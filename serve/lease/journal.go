package lease

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
)

// journal is the file that transactions go to first: one write and one sync of
// some thousand bytes, where the database rewrites a page for every lease and
// syncs twice. Folding brings the database up to it, once there is much or when
// nothing else is to be done; the journal then begins anew under another name,
// which the same transaction of the database makes known. What stands in the
// file under former names, or beside another database, counts for nothing.
//
// A frame is a transaction: name (8 bytes), length of the rest and CRC-32 of
// name and rest (4 bytes each), then for each change address (4 bytes), length
// (2 bytes, 0: nobody has it any more) and record. Numbers are big endian.
type journal struct {
	file  *os.File
	path  string
	name  [8]byte
	at    int64           // where the next frame goes
	limit int64           // when to fold
	room  int64           // what limit is after a fold
	ahead map[uint32]bool // addresses of which it knows more than the database
}

const (
	frameHeader  = 16
	entryHeader  = 6
	journalLimit = 1 << 20
	maxJournal   = 64 << 20 // what is read of a file, far more than is ever written
)

func journalPath(path string) string { return path + ".journal" }

// openJournal opens or makes the journal beside a database and returns what is
// in the file.
func openJournal(path string) (j *journal, data []byte, err error) {
	path = journalPath(path)
	_, statErr := os.Stat(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, nil, err
	}
	if data, err = io.ReadAll(io.LimitReader(f, maxJournal)); err == nil && errors.Is(statErr, fs.ErrNotExist) {
		err = syncFolder(path)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
	}
	return &journal{file: f, path: path, limit: journalLimit, room: journalLimit, ahead: map[uint32]bool{}}, data, nil
}

// newName names what is written from now on. Clients, who can have bytes of
// their own written, cannot guess it.
func newName() (name [8]byte) {
	_, _ = rand.Read(name[:]) // never fails
	return name
}

// frame is a transaction as the journal has it.
func (j *journal) frame(changes []change, now moment) []byte {
	b := append(make([]byte, 0, frameHeader+64*len(changes)), j.name[:]...)
	b = append(b, make([]byte, frameHeader-len(b))...)
	for _, ch := range changes {
		b = binary.BigEndian.AppendUint32(b, ch.ip)
		at := len(b)
		b = append(b, 0, 0)
		if ch.rec != nil {
			b = ch.rec.append(b, now)
		}
		binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-frameHeader))
	binary.BigEndian.PutUint32(b[12:], frameSum(b))
	return b
}

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(frame[:8]), crc32.IEEETable, frame[frameHeader:])
}

// write puts a frame on disk. One that fails is overwritten by the next.
func (j *journal) write(frame []byte) error {
	if _, err := j.file.WriteAt(frame, j.at); err != nil {
		return err
	}
	if err := syncData(j.file); err != nil {
		return fmt.Errorf("sync %s: %w", j.path, err)
	}
	j.at += int64(len(frame))
	return nil
}

// begin empties the journal.
func (j *journal) begin(name [8]byte) {
	j.name, j.at, j.limit = name, 0, j.room
	clear(j.ahead)
}

// written is a change as it was read.
type written struct {
	ip    uint32
	value []byte // empty: nobody has it any more
}

// frames reads what was written under a name, in order. The last frame may have
// been cut off: nobody was told that it is there. Frames behind a damaged one
// are read; damaged counts the bytes between. The next frame goes to end.
func frames(data []byte, name [8]byte) (entries []written, end, damaged int) {
	for at := 0; ; {
		n := frameLen(data[at:], name)
		if n == 0 {
			next := nextFrame(data[at:], name)
			if next == 0 {
				return entries, at, damaged
			}
			at, damaged = at+next, damaged+next
			continue
		}
		entries = appendEntries(entries, data[at+frameHeader:at+n])
		at += n
	}
}

// frameLen is the length of the frame that data begin with, 0 if it is none.
func frameLen(data []byte, name [8]byte) int {
	if len(data) < frameHeader || [8]byte(data) != name {
		return 0
	}
	n := uint64(binary.BigEndian.Uint32(data[8:])) + frameHeader
	if n > uint64(len(data)) || frameSum(data[:n]) != binary.BigEndian.Uint32(data[12:]) {
		return 0
	}
	return int(n)
}

// nextFrame is where the next frame begins behind a damaged one, 0: nowhere.
func nextFrame(data []byte, name [8]byte) int {
	for at := 1; at < len(data); at++ {
		i := bytes.Index(data[at:], name[:])
		if i < 0 {
			return 0
		}
		if at += i; frameLen(data[at:], name) > 0 {
			return at
		}
	}
	return 0
}

func appendEntries(entries []written, b []byte) []written {
	for len(b) >= entryHeader {
		n := entryHeader + int(binary.BigEndian.Uint16(b[4:]))
		if n > len(b) {
			break
		}
		entries = append(entries, written{binary.BigEndian.Uint32(b), b[entryHeader:n]})
		b = b[n:]
	}
	return entries
}
