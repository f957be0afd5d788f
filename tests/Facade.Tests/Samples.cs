using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using Expecto;
using static Expecto.CSharp.Runner;

/// <summary>The C# sample, run as a user runs it.</summary>
public static class Samples
{
    [Tests]
    public static Test Tests => TestList(
        "Samples",
        [TestCase("the C# program prints its accuracies", CSharp)]);

    // samples/CSharp/bin has the same Release/net10.0 below it as this program's own bin.
    private static string Program()
    {
        var here = new DirectoryInfo(System.AppContext.BaseDirectory);
        var root = here;
        while (!File.Exists(Path.Combine(root.FullName, "build.fsx"))) root = root.Parent!;
        return Path.Combine(root.FullName, "samples/CSharp/bin", here.Parent!.Name, here.Name, "CSharp.dll");
    }

    private static void CSharp()
    {
        using var folder = new Folder();
        var start = new ProcessStartInfo("dotnet", ["exec", Program()])
        {
            WorkingDirectory = folder.Path,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var sample = Process.Start(start)!;
        var complaint = sample.StandardError.ReadToEndAsync();
        var output = sample.StandardOutput.ReadToEnd();
        sample.WaitForExit();

        Expect.equal(complaint.Result, "", "what it complained of");
        Expect.equal(sample.ExitCode, 0, "its exit code");
        var shares = Regex.Matches(output, @"^(\S+) +(\d+\.\d) %$", RegexOptions.Multiline);
        var names = shares.Select(line => line.Groups[1].Value);
        Expect.sequenceEqual(names, ["clean", "fgsm", "pgd-20"], output);
        Expect.isDescending(shares.Select(line => double.Parse(line.Groups[2].Value)), output);
    }
}
