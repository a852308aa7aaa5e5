package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

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
	public, private, err := sign.Generate(rand.Reader, password)
	if err != nil {
		return err
	}
	mode := os.O_EXCL
	if force {
		mode = os.O_TRUNC
	}
	for _, f := range []struct {
		path string
		data []byte
		perm os.FileMode
	}{{path, private, 0o600}, {path + ".pub", public, 0o644}} {
		out, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|mode, f.perm)
		if err != nil {
			return withHint(err, "name another file, or replace it with --force: what it signed can then not be signed again")
		}
		_, err = out.Write(f.data)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.stderr, "%s: keep it secret; %s.pub: give it to those who verify\n", path, path)
	_, err = a.stdout.Write(public)
	return err
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
