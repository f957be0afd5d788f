namespace Expecto

open System
open System.Threading

/// A failed expectation, told without a stack trace of its own.
type ExpectoException(msg: string) =
    inherit Exception(msg)

/// A failed expectation.
type internal AssertException(msg: string) =
    inherit ExpectoException(msg)

/// Raised inside a test to leave it: it counts as skipped.
type internal IgnoreException(msg: string) =
    inherit ExpectoException(msg)

/// Whether a test runs: always, alone with others of its kind, or not at all.
type FocusState =
    | Normal
    | Pending
    | Focused

/// What a test does.
[<NoEquality; NoComparison>]
type TestCode =
    | Sync of stest: (unit -> unit)
    | SyncWithCancel of stest: (CancellationToken -> unit)
    | Async of atest: Async<unit>

/// Whether tests may run beside others. Ours always run one after another: libtorch has the cores.
type SequenceMethod =
    | Synchronous
    | SynchronousGroup of string
    | InParallel

/// A tree of tests.
[<NoEquality; NoComparison>]
type Test =
    | TestCase of code: TestCode * state: FocusState
    | TestList of tests: Test list * state: FocusState
    | TestLabel of label: string * test: Test * state: FocusState
    | Sequenced of SequenceMethod * Test

/// Marks a value of type `Test` for runners that discover tests.
[<AttributeUsage(AttributeTargets.Method ||| AttributeTargets.Field ||| AttributeTargets.Property)>]
type TestsAttribute() =
    inherit Attribute()
