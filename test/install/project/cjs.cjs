console.log(require('./check.cjs')(require('sweet-rl')));
