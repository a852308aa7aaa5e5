package sign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"aead.dev/minisign"
)

// maxKey bounds key files: minisign's have about 250 bytes.
const maxKey = 4 << 10

// PublicKey verifies signatures.
type PublicKey struct{ key minisign.PublicKey }

// ID is the key's number as minisign prints it.
func (k *PublicKey) ID() string { return keyID(k.key.ID()) }

// PrivateKey makes signatures.
type PrivateKey struct{ key minisign.PrivateKey }

// Public is the key that verifies what k signs.
func (k *PrivateKey) Public() *PublicKey {
	return &PublicKey{k.key.Public().(minisign.PublicKey)}
}

// ErrPassword means that a private key could not be opened with the password
// that was given.
var ErrPassword = errors.New("the password does not open it")

// Generate makes a pair of keys from random, as the contents of a public and
// of a private key file. Password protects the private key; "" leaves it open
// to whoever reads the file. Protecting takes about a second and, for that
// long, 1 GiB of memory, as minisign has it.
func Generate(random io.Reader, password string) (public, private []byte, err error) {
	pub, priv, err := minisign.GenerateKey(random)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	if public, err = pub.MarshalText(); err != nil {
		return nil, nil, err
	}
	if password == "" {
		private, err = priv.MarshalText()
	} else {
		private, err = minisign.EncryptKey(password, priv)
	}
	if err != nil {
		return nil, nil, err
	}
	return append(public, '\n'), append(bytes.TrimRight(private, "\n"), '\n'), nil
}

// ParsePublicKey reads the content of a public key file, or its last line alone.
func ParsePublicKey(text []byte) (*PublicKey, error) {
	if len(text) > maxKey {
		return nil, errors.New("too long for a minisign public key")
	}
	var k PublicKey
	if err := k.key.UnmarshalText(bytes.TrimSpace(text)); err != nil {
		return nil, err
	}
	return &k, nil
}

// ReadPublicKey reads a public key file.
func ReadPublicKey(path string) (*PublicKey, error) {
	text, err := readKey(path)
	if err != nil {
		return nil, err
	}
	k, err := ParsePublicKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w (it has to be a public key: the .pub file of hooksmith keygen or minisign -G)", path, err)
	}
	return k, nil
}

// ReadPrivateKey reads a private key file; password is asked for only if the
// key is protected. An error that is ErrPassword means that it is a wrong one.
func ReadPrivateKey(path string, password func() (string, error)) (*PrivateKey, error) {
	text, err := readKey(path)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSpace(text)
	var k PrivateKey
	if !minisign.IsEncrypted(text) {
		if err := k.key.UnmarshalText(text); err != nil {
			return nil, fmt.Errorf("reading %s: %w (it has to be a private key of hooksmith keygen or minisign -G)", path, err)
		}
		return &k, nil
	}
	secret, err := password()
	if err != nil {
		return nil, fmt.Errorf("%s is protected by a password: %w", path, err)
	}
	if k.key, err = minisign.DecryptKey(secret, text); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, ErrPassword)
	}
	return &k, nil
}

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(text) > maxKey {
		return nil, fmt.Errorf("reading %s: too long for a key of minisign", path)
	}
	return text, nil
}
