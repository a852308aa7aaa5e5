package store

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

const sshTimeout = 60 * time.Second

// dialSSH connects to a host whose key is known, with the keys of the agent
// and of ~/.ssh, as ssh does.
func dialSSH(ctx context.Context, u *url.URL, a Access) (*ssh.Client, error) {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "22")
	}
	check, algorithms, err := hostKeys(address, u, a)
	if err != nil {
		return nil, err
	}
	auth, done, err := sshAuth(u, a)
	defer done()
	if err != nil {
		return nil, err
	}
	user := u.User.Username()
	if user == "" {
		user = a.env("USER")
	}
	conn, err := stalling((&net.Dialer{Timeout: sshTimeout}).DialContext, stallTime)(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	handshake, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	stop := context.AfterFunc(handshake, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: user, Auth: auth, HostKeyCallback: check, HostKeyAlgorithms: algorithms})
	if err != nil && handshake.Err() != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("%s took the connection and is no SSH server within %v: %w", address, sshTimeout, err)
	}
	if err != nil {
		return nil, errors.Join(explainSSH(err, address), conn.Close())
	}
	return ssh.NewClient(c, channels, requests), nil
}

// hostKeys checks against known_hosts (?known_hosts=FILE, else the user's and
// the system's), and asks the server for the kinds of keys that are in there.
func hostKeys(address string, u *url.URL, a Access) (ssh.HostKeyCallback, []string, error) {
	files := []string{filepath.Join(a.Home, ".ssh", "known_hosts"), "/etc/ssh/ssh_known_hosts"}
	if f := u.Query().Get("known_hosts"); f != "" {
		files = []string{f}
	}
	var there []string
	for _, f := range files {
		if _, err := os.Stat(f); err == nil {
			there = append(there, f)
		}
	}
	check, err := knownhosts.New(there...)
	if err != nil {
		return nil, nil, fmt.Errorf("reading known hosts: %w", err)
	}
	// A key that nobody has: the error lists those that are known.
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil, nil, err
	}
	var unknown *knownhosts.KeyError
	if err := check(address, &net.TCPAddr{IP: net.IPv4zero}, probe); !errors.As(err, &unknown) {
		return check, nil, nil
	}
	var algorithms []string
	for _, k := range unknown.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, t)
		}
	}
	return check, algorithms, nil
}

func explainSSH(err error, address string) error {
	var key *knownhosts.KeyError
	if !errors.As(err, &key) {
		return final{err}
	}
	host, port, _ := net.SplitHostPort(address)
	if len(key.Want) > 0 {
		return final{fmt.Errorf("%s shows another key than %s has in line %d: somebody may be in between, or the host was installed anew (ssh-keygen -R then removes the old one)",
			address, key.Want[0].Filename, key.Want[0].Line)}
	}
	return final{fmt.Errorf("%s is not a known host: compare its key, then add it with: ssh-keyscan -p %s %s >>~/.ssh/known_hosts", address, port, host)}
}

// sshAuth is the password of the URL, the key of ?identity=FILE, or the agent's
// keys and the usual ones of ~/.ssh. The caller calls done after the handshake.
func sshAuth(u *url.URL, a Access) (methods []ssh.AuthMethod, done func(), err error) {
	done = func() {}
	if pass, ok := u.User.Password(); ok {
		return []ssh.AuthMethod{ssh.Password(pass)}, done, nil
	}
	if f := u.Query().Get("identity"); f != "" {
		signer, err := readIdentity(f)
		if err != nil {
			return nil, done, err
		}
		return []ssh.AuthMethod{ssh.PublicKeys(signer)}, done, nil
	}
	var signers []ssh.Signer
	if socket := a.env("SSH_AUTH_SOCK"); socket != "" {
		if conn, err := net.Dial("unix", socket); err == nil {
			done = func() { _ = conn.Close() }
			if keys, err := agent.NewClient(conn).Signers(); err == nil {
				signers = keys
			}
		}
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		if signer, err := readIdentity(filepath.Join(a.Home, ".ssh", name)); err == nil {
			signers = append(signers, signer)
		}
	}
	if len(signers) == 0 {
		return nil, done, final{errors.New("no SSH key: start ssh-agent and ssh-add one, or name an open one with ?identity=FILE")}
	}
	return []ssh.AuthMethod{ssh.PublicKeys(signers...)}, done, nil
}

func readIdentity(path string) (ssh.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, final{err}
	}
	signer, err := ssh.ParsePrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, final{fmt.Errorf("%s has a passphrase: use ssh-agent and ssh-add it", path)}
	}
	if err != nil {
		return nil, final{fmt.Errorf("reading %s: %w", path, err)}
	}
	return signer, nil
}
