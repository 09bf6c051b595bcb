//! One TLS session of either role without buffers of its own, as the edge begins it and the relay carries it on.
