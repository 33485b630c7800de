// sweet-rl loads this; it has no interface of its own.
module.exports = require('node-gyp-build')(__dirname);
