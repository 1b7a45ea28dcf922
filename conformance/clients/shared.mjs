// Checks in front of one `workbench.mjs` that all clients of the handshake share. It says nothing of
// whose call makes it ask, so that it may not.

import { checkCrowd } from './crowd.mjs';

checkCrowd(64, false);
