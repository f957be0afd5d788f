using System;
using System.IO;
using System.Threading;
using AdvContrast;
using Expecto;
using static Expecto.CSharp.Runner;

/// <summary>Data sets fetched from C#.</summary>
public static class Fetching
{
    [Tests]
    public static Test Tests => TestList(
        "Fetching",
        [
            TestCase("names that nothing can be fetched for are refused", Refuses),
            TestCase("what is there is not fetched again", Present),
            TestCase("a token stops it", Stops),
        ]);

    private static ErrorCode Code(string name)
    {
        try
        {
            Tiny.Wait(Workbench.GetDatasetAsync(name, "nowhere"));
            return 0;
        }
        catch (AdvContrastException e)
        {
            return e.Code;
        }
    }

    private static void Refuses()
    {
        Expect.equal(Code("sample"), ErrorCode.BadOption, "it is embedded");
        Expect.equal(Code("folder"), ErrorCode.BadOption, "it is the user's own");
        Expect.equal(Code("cifar-10"), ErrorCode.UnknownName, "there is no such set");
        Expect.isFalse(Directory.Exists("nowhere"), "nothing was made");
    }

    private static void Present()
    {
        using var folder = new Folder();
        Directory.CreateDirectory(folder.At("cifar-10-batches-bin"));
        var fetched = Tiny.Wait(Workbench.GetDatasetAsync("cifar10", folder.Path));
        Expect.isEmpty(fetched, "files that were fetched");
    }

    private static void Stops()
    {
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        try
        {
            Tiny.Wait(Workbench.GetDatasetAsync("cifar10", "nowhere", null, stop.Token));
            Expect.isTrue(false, "it was not stopped");
        }
        catch (OperationCanceledException)
        {
            Expect.isFalse(Directory.Exists("nowhere"), "nothing was made");
        }
    }
}
