package serve

// Message is a stand-in until package text has its own.
type Message struct{ Role, Content string }
