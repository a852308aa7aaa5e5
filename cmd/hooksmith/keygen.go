package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hooksmith/publish/sign"
)

// passwordVariable has the password of private keys where nobody can type it.
const passwordVariable = "HOOKSMITH_KEY_PASSWORD"

func newKeygen(a *app) *cobra.Command {
	var open, force bool
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key pair that signs artifacts",
		Long: `Make an Ed25519 key pair in minisign's format: the private key in FILE, the public
one in FILE.pub. The private key is protected by a password, which is asked for, or
taken from $` + passwordVariable + `; protecting and opening it takes a second and, for
that long, 1 GiB of memory, as it does with minisign.`,
		Example: `  hooksmith keygen hook.key
  hooksmith keygen hook.key --no-password   # for CI, where the file itself is the secret`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var password string
			if !open {
				var err error
				if password, err = a.newPassword(); err != nil {
					return err
				}
			}
			return a.keygen(args[0], password, force)
		},
	}
	cmd.Flags().BoolVar(&open, "no-password", false, "leave the private key open to whoever reads the file")
	cmd.Flags().BoolVar(&force, "force", false, "replace files that are there")
	return cmd
}

func (a *app) keygen(path, password string, force bool) error {
	for _, name := range []string{path + ".pub", path} { // before one of them is written
		if err := keyFile(name, force); err != nil {
			return err
		}
	}
	public, private, err := sign.Generate(rand.Reader, password)
	if err != nil {
		return err
	}
	write := createFile
	if force {
		write = replaceFile // whatever mode the old one had
	}
	if err := write(path+".pub", public, 0o644); err != nil {
		return err
	}
	if err := write(path, private, 0o600); err != nil {
		if !force { // no half of a pair is left
			err = errors.Join(err, os.Remove(path+".pub"))
		}
		return err
	}
	fmt.Fprintf(a.stderr, "%s: keep it secret; %s.pub: give it to those who verify\n", path, path)
	_, err = a.stdout.Write(public)
	return err
}

// keyFile tells whether a key can be written to path.
func keyFile(path string, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return withHint(fmt.Errorf("%s is a folder", path), "name a file in it: %s", filepath.Join(path, "hooksmith.key"))
	case !force:
		return withHint(fmt.Errorf("%s: %w", path, fs.ErrExist), "name another file, or replace it with --force: what it signed can then not be signed again")
	}
	return nil
}

// createFile writes a file that was not there; half a file is removed.
func createFile(path string, data []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func replaceFile(path string, data []byte, perm os.FileMode) (err error) {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(perm))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Cleanup()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// newPassword asks twice.
func (a *app) newPassword() (string, error) {
	if p, ok := a.lookupEnv(passwordVariable); ok && p != "" {
		return p, nil
	}
	first, err := a.askPassword("Password for the new key: ")
	if err != nil {
		return "", err
	}
	again, err := a.askPassword("The same again: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", errors.New("the two passwords differ")
	}
	if first == "" {
		return "", usagef("an empty password protects nothing: give --no-password if that is meant")
	}
	return first, nil
}

// keyPassword is asked for when a protected key is to be opened.
func (a *app) keyPassword() (string, error) {
	if p, ok := a.lookupEnv(passwordVariable); ok {
		return p, nil
	}
	return a.askPassword("Password of the key: ")
}

func (a *app) askPassword(prompt string) (string, error) {
	in, ok := a.stdin.(*os.File)
	if !ok || !a.isTerminal(a.stdin) {
		return "", withHint(errors.New("no terminal to ask for the password at"), "set $%s", passwordVariable)
	}
	fmt.Fprint(a.stderr, prompt)
	p, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.stderr)
	return string(p), err
}
