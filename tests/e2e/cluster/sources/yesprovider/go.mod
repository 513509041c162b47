module example.test/yesprovider

go 1.24
