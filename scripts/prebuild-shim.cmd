@node "%~dp0prebuild-shim.js" %*
