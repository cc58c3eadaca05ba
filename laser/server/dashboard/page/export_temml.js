// routes.py serves this behind vendor/temml.min.js, which is no module by itself.
export default temml;
