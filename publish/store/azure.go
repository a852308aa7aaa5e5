package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azure is a store in a container of Azure Blob Storage.
type azure struct {
	client *container.Client
	prefix string
	close  func()
}

// azureAccount says where a storage account is.
type azureAccount struct {
	name, domain, protocol, token string
	cdn, emulator                 bool
}

// openAzure opens azblob://CONTAINER/PREFIX with what the variables say that
// Azure's command line reads: AZURE_STORAGE_ACCOUNT and _KEY, _SAS_TOKEN or
// _CONNECTION_STRING; else with the default credential. ?storage_account=,
// domain=, protocol=, cdn= and localemu= go before the variables.
func openAzure(u *url.URL, a Access) (*azure, error) {
	account := azureAccount{name: a.env("AZURE_STORAGE_ACCOUNT"), domain: a.env("AZURE_STORAGE_DOMAIN"),
		protocol: a.env("AZURE_STORAGE_PROTOCOL"), token: a.env("AZURE_STORAGE_SAS_TOKEN")}
	for key, value := range map[string]string{"cdn": a.env("AZURE_STORAGE_IS_CDN"), "localemu": a.env("AZURE_STORAGE_IS_LOCAL_EMULATOR")} {
		if err := account.set(key, value); value != "" && err != nil {
			return nil, err
		}
	}
	for key, values := range u.Query() {
		if err := account.set(key, values[0]); err != nil {
			return nil, err
		}
	}
	transport := Transport()
	opt := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: &polite{transport}},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // Patience repeats
	}}
	client, err := account.open(u.Host, a, opt)
	if err != nil {
		return nil, &cloudError{name: u.Host, err: err}
	}
	return &azure{client: client, prefix: prefixOf(u), close: transport.CloseIdleConnections}, nil
}

func (c *azureAccount) set(key, value string) (err error) {
	switch key {
	case "storage_account":
		c.name = value
	case "domain":
		c.domain = value
	case "protocol":
		c.protocol = value
	case "cdn":
		c.cdn, err = strconv.ParseBool(value)
	case "localemu":
		c.emulator, err = strconv.ParseBool(value)
	default:
		err = errors.New("azblob:// knows ?storage_account=, domain=, protocol=, cdn= and localemu=")
	}
	if err != nil {
		err = fmt.Errorf("?%s=: %w", key, err)
	}
	return err
}

// url is that of the account: https://NAME.blob.core.windows.net.
func (c *azureAccount) url() (*url.URL, error) {
	u := &url.URL{Scheme: c.protocol, Host: c.domain, RawQuery: strings.TrimPrefix(c.token, "?")}
	if u.Scheme == "" {
		u.Scheme = "https"
	}
	if u.Host == "" {
		u.Host = "blob.core.windows.net"
	}
	local := c.emulator || strings.HasPrefix(u.Host, "127.0.0.1") || strings.HasPrefix(u.Host, "localhost")
	switch {
	case c.name == "":
		return nil, errors.New("no storage account: name it with AZURE_STORAGE_ACCOUNT or ?storage_account=")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("protocol %q: want https or http", u.Scheme)
	case local:
		u.Path = "/" + c.name
	case !c.cdn:
		u.Host = c.name + "." + u.Host
	}
	return u, nil
}

func (c *azureAccount) open(name string, a Access, opt *container.ClientOptions) (*container.Client, error) {
	key, connection := a.env("AZURE_STORAGE_KEY"), a.env("AZURE_STORAGE_CONNECTION_STRING")
	if connection == "" {
		connection = a.env("AZURE_STORAGEBLOB_CONNECTIONSTRING")
	}
	if connection != "" && (c.name == "" || key == "") && c.token == "" {
		client, err := container.NewClientFromConnectionString(connection, name, opt)
		if err != nil {
			return nil, errors.New("AZURE_STORAGE_CONNECTION_STRING is not a connection string") // the error may have it
		}
		return client, nil
	}
	u, err := c.url()
	if err != nil {
		return nil, err
	}
	at := u.JoinPath(name).String()
	switch {
	case key != "":
		cred, err := container.NewSharedKeyCredential(c.name, key)
		if err != nil {
			return nil, fmt.Errorf("AZURE_STORAGE_KEY: %w", err)
		}
		u.RawQuery = ""
		return container.NewClientWithSharedKeyCredential(u.JoinPath(name).String(), cred, opt)
	case c.token != "":
		return container.NewClientWithNoCredential(at, opt)
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, cred, opt)
}

func azureHeaders(name string) *blob.HTTPHeaders {
	kind, cache := contentType(name), "no-cache"
	return &blob.HTTPHeaders{BlobContentType: &kind, BlobCacheControl: &cache}
}

// Put writes an object, a large one in blocks that count when all have come.
func (z *azure) Put(ctx context.Context, name, _ string, size int64, content Content) error {
	_, err := z.client.NewBlockBlobClient(z.prefix+name).UploadStream(ctx, reader(content, size),
		&blockblob.UploadStreamOptions{BlockSize: 8 << 20, Concurrency: 2, HTTPHeaders: azureHeaders(name)})
	return explainAzure(name, err)
}

// Create is a conditional write.
func (z *azure) Create(ctx context.Context, name string, data []byte) error {
	never := azcore.ETagAny
	_, err := z.client.NewBlockBlobClient(z.prefix+name).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)),
		&blockblob.UploadOptions{HTTPHeaders: azureHeaders(name),
			AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &never}}})
	return explainAzure(name, err)
}

// Get reads a range.
func (z *azure) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	opt := &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: off, Count: max(n, 0)}} // 0: to the end
	if n == 0 {
		opt.Range.Count = 1
	}
	out, err := z.client.NewBlobClient(z.prefix+name).DownloadStream(ctx, opt)
	if err != nil {
		return nil, explainAzure(name, err)
	}
	return out.Body, nil
}

// Copy is done by the server, which may go on with it after its answer.
func (z *azure) Copy(ctx context.Context, from, to string) error {
	target := z.client.NewBlobClient(z.prefix + to)
	out, err := target.StartCopyFromURL(ctx, z.client.NewBlobClient(z.prefix+from).URL(), nil)
	status := out.CopyStatus
	for err == nil && status != nil && *status == blob.CopyStatusTypePending {
		if err = sleep(ctx, 500*time.Millisecond); err == nil {
			var now blob.GetPropertiesResponse
			now, err = target.GetProperties(ctx, nil)
			status = now.CopyStatus
		}
	}
	if err == nil && status != nil && *status != blob.CopyStatusTypeSuccess {
		err = fmt.Errorf("copying to %s ended as %s", to, *status)
	}
	return explainAzure(from, err)
}

// Delete removes an object.
func (z *azure) Delete(ctx context.Context, name string) error {
	if strings.HasSuffix(name, "/") {
		return nil // there are no folders
	}
	_, err := z.client.NewBlobClient(z.prefix+name).Delete(ctx, nil)
	return gone(explainAzure(name, err))
}

// Close ends idle connections.
func (z *azure) Close() error {
	z.close()
	return nil
}

// explainAzure also keeps a shared access signature out of errors: the library
// says which URL it asked.
func explainAzure(name string, err error) error {
	var said *azcore.ResponseError
	if errors.As(err, &said) {
		short := *said
		return explainCloud(name, &azureError{&short})
	}
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	return explainCloud(name, err)
}

// azureError is an answer in one line.
type azureError struct{ *azcore.ResponseError }

func (e *azureError) Error() string { return fmt.Sprintf("%d %s", e.StatusCode, e.ErrorCode) }
func (e *azureError) Unwrap() error { return e.ResponseError }
