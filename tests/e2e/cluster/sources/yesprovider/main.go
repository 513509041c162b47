// Command yesprovider answers Gatekeeper's external data requests with a yes for every key: what remains of a Pod's
// admission when verification costs nothing. Rates of the provider under test are compared with this one's.
//
//	yesprovider ADDRESS CERTIFICATE KEY CLIENT-CA
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"
)

type request struct {
	Request struct {
		Keys []string `json:"keys"`
	} `json:"request"`
}

type verdict struct {
	IsSuccess bool     `json:"isSuccess"`
	Reports   []string `json:"verifierReports"`
}

type item struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

type response struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Response   struct {
		Idempotent bool   `json:"idempotent"`
		Items      []item `json:"items"`
	} `json:"response"`
}

// answer says yes, or for a mutation what was asked; value makes either of a key.
func answer(value func(key string) any) http.HandlerFunc {
	return func(writer http.ResponseWriter, asked *http.Request) {
		var wanted request
		if err := json.NewDecoder(asked.Body).Decode(&wanted); err != nil {
			http.Error(writer, err.Error(), http.StatusBadRequest)
			return
		}
		said := response{APIVersion: "externaldata.gatekeeper.sh/v1beta1", Kind: "ProviderResponse"}
		said.Response.Idempotent = true
		for _, key := range wanted.Request.Keys {
			said.Response.Items = append(said.Response.Items, item{key, value(key)})
		}
		writer.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(writer).Encode(said); err != nil {
			log.Print(err)
		}
	}
}

func main() {
	authority, err := os.ReadFile(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority)
	paths := http.NewServeMux()
	paths.HandleFunc("/ratify/gatekeeper/v1/verify", answer(func(string) any {
		return verdict{IsSuccess: true, Reports: []string{}}
	}))
	paths.HandleFunc("/ratify/gatekeeper/v1/mutate", answer(func(key string) any { return key }))
	server := &http.Server{
		Addr:              os.Args[1],
		Handler:           paths,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{
			ClientAuth: tls.RequireAndVerifyClientCert,
			ClientCAs:  clients,
			MinVersion: tls.VersionTLS13,
		},
	}
	log.Fatal(server.ListenAndServeTLS(os.Args[2], os.Args[3]))
}
