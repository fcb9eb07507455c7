(component (import "pipehost:executor/run@0.9.0" (instance)))
