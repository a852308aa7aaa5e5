package sign

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"aead.dev/minisign"
)

// Name is what the signature of hook.json is called.
const Name = "hook.json.minisig"

// MaxSize bounds a signature: minisign refuses trusted comments over 8 KiB.
const MaxSize = 16 << 10

// documentsKey starts the list of documents in the trusted comment.
const documentsKey = "documents:"

// Signature is a signature that was verified.
type Signature struct {
	KeyID     string
	Comment   string            // the trusted comment
	Documents map[string]string // file name to SHA-256, in hex, of what hook.json does not describe; nil if the signature names none
}

// Sign signs message. Documents are the SHA-256, in hex, of files that belong
// to it, by name.
func Sign(key *PrivateKey, message []byte, documents map[string]string, now time.Time) ([]byte, error) {
	comment := "timestamp:" + strconv.FormatInt(now.Unix(), 10) + "\tfile:hook.json\thashed"
	var list []string
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		if strings.ContainsAny(name, ",=\t\r\n") {
			return nil, fmt.Errorf("%q cannot be named in a signature", name)
		}
		list = append(list, name+"="+documents[name])
	}
	comment += "\t" + documentsKey + strings.Join(list, ",")
	const most = 8000
	if len(comment) > most {
		return nil, fmt.Errorf("%d documents are too many for one signature", len(documents))
	}
	r := minisign.NewReader(bytes.NewReader(message))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return r.SignWithComments(key.key, comment, "signature of hook.json by hooksmith, key "+keyID(key.key.ID())), nil
}

// Verify checks that signature is one of message by key.
func Verify(key *PublicKey, message, signature []byte) (*Signature, error) {
	if len(signature) > MaxSize {
		return nil, errors.New("too long for a signature of minisign")
	}
	signature = bytes.TrimRight(signature, "\r\n")
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return nil, err
	}
	if s.KeyID != key.key.ID() {
		return nil, fmt.Errorf("made by key %s, not by %s", keyID(s.KeyID), key.ID())
	}
	if !minisign.Verify(key.key, message, signature) {
		return nil, fmt.Errorf("it is not key %s's signature of this content", key.ID())
	}
	documents, err := parseDocuments(s.TrustedComment)
	if err != nil {
		return nil, err
	}
	return &Signature{KeyID: key.ID(), Comment: s.TrustedComment, Documents: documents}, nil
}

// Claims are the documents that a signature names, by nobody's word: it is not
// verified. Nil if it names none.
func Claims(signature []byte) (map[string]string, error) {
	if len(signature) > MaxSize {
		return nil, errors.New("too long for a signature of minisign")
	}
	var s minisign.Signature
	if err := s.UnmarshalText(bytes.TrimRight(signature, "\r\n")); err != nil {
		return nil, err
	}
	return parseDocuments(s.TrustedComment)
}

// parseDocuments reads the list out of a trusted comment; nil if there is none.
func parseDocuments(comment string) (map[string]string, error) {
	for _, field := range strings.Split(comment, "\t") {
		list, ok := strings.CutPrefix(field, documentsKey)
		if !ok {
			continue
		}
		documents := map[string]string{}
		for _, item := range strings.Split(list, ",") {
			if item == "" {
				continue
			}
			name, sum, _ := strings.Cut(item, "=")
			if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 || name == "" {
				return nil, fmt.Errorf("the signature's comment has %q where NAME=SHA256 belongs", item)
			}
			documents[name] = sum
		}
		return documents, nil
	}
	return nil, nil
}

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }
